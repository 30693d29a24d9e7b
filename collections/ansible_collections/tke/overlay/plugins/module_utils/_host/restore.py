# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: what lets a host stay right and come back by itself, without a controller and without Python.

The saved state is the applied state: the very lines that ``ip -batch``,
``bridge -batch`` and ``nft -f`` took are kept below ``/etc/tke-overlay``,
together with a script for ``/bin/sh`` that compares them with the kernel's
listings and hands back to the tools the lines that are missing. A unit runs the
script at boot, a timer now and then.

What the script may do: put back what is missing or otherwise, and remove what is
ours (permanent entries on our device, routes of our protocol, addresses of our
device, anything in our nftables table) and not in the files. What it may not:
touch anything else, or change the plan. A changed plan comes from Ansible only,
and it is saved last: until then, and if a run dies half-way, the timer keeps the
host at the old one. Files (this state, units, drop-ins, the CNI configuration)
are put back by Ansible only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.link import ALIAS, LinkSpec, compare_link
from ansible_collections.tke.overlay.plugins.module_utils._host.tables import KernelError, Run, Table, Wanted, words_of

STATE = "/etc/tke-overlay"
SETTINGS = f"{STATE}/settings"
SUMMARY = f"{STATE}/summary"
RULES_FILE = f"{STATE}/rules.nft"
FLEET_FILE = f"{STATE}/fleet"
CONFIRMED = f"{STATE}/.confirmed"
"""The saved state of a change that was confirmed, for the moment until each of its files is in its place."""

LOCK = f"{files.RUN_DIRECTORY}/lock"
LOCK_SECONDS = 60

SERVICE, TIMER = "tke-overlay.service", "tke-overlay.timer"
NETWORKD, NETWORK_MANAGER = "systemd-networkd.service", "NetworkManager.service"
UNIT_DIRECTORY = "/etc/systemd/system"

SYSCTL_FILE = "/etc/sysctl.d/99-tke-overlay.conf"
LINK_FILE = "/etc/systemd/network/10-tke-overlay.link"
NETWORK_FILE = "/etc/systemd/network/10-tke-overlay.network"
NETWORKD_FILE = "/etc/systemd/networkd.conf.d/10-tke-overlay.conf"
NETWORK_MANAGER_FILE = "/etc/NetworkManager/conf.d/10-tke-overlay.conf"

DROP_INS = (SYSCTL_FILE, LINK_FILE, NETWORK_FILE, NETWORKD_FILE, NETWORK_MANAGER_FILE)
UNIT_FILES = (f"{UNIT_DIRECTORY}/{SERVICE}", f"{UNIT_DIRECTORY}/{TIMER}")

WRITTEN_BY = "# Written by tke.overlay; changes are lost with its next run.\n"

STATE_FILES = (
    "summary",
    "settings",
    "fleet",
    "link.batch",
    "neighbor.batch",
    "fdb.batch",
    "route.batch",
    "rules.nft",
    "sysctl",
    "restore",
)


class Host(t.NamedTuple):
    """What of a host decides how it is looked after."""

    systemd: bool
    units: Texts  # unit -> "enabled", "active" or both
    loaded: bool  # whether systemd has read a file of our units
    kernel: tuple[int, int]


class Unit(t.NamedTuple):
    """A unit of systemd: "enabled", "active", both or neither; and whether systemd has read a file of it."""

    state: str
    loaded: bool


class State(t.NamedTuple):
    """What is saved, apart from how each file looks."""

    link: LinkSpec
    bridge: str
    cidrs: t.Sequence[str]
    tables: t.Sequence[tuple[Table, Wanted]]
    rules: str
    sysctls: Texts
    summary: t.Mapping[str, object]
    fleet: str  # with the names of all nodes: not for the script, but for whoever has lost the ledger


def read_host(run: Run) -> Host:
    """Who runs this host, and which of the network managers are at work on it."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    kernel = (int(release[1]), int(release[2])) if release else (5, 0)
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        return Host(False, {}, False, kernel)
    units = unit_states((SERVICE, TIMER, NETWORKD, NETWORK_MANAGER), run)
    loaded = units[SERVICE].loaded or units[TIMER].loaded
    return Host(True, {name: unit.state for name, unit in units.items()}, loaded, kernel)


def unit_states(names: t.Sequence[str], run: Run) -> dict[str, Unit]:
    """What systemd says of these units.

    :raises KernelError: it says nothing.
    """
    code, out, errors = run(("systemctl", "show", "-p", "Id,LoadState,UnitFileState,ActiveState", *names), None)
    if code != 0:
        raise KernelError(f"systemctl show: {words_of(code, errors)}")
    units = dict.fromkeys(names, Unit("", False))
    for block in out.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if line)
        words = [values.get(key, "") for key in ("UnitFileState", "ActiveState")]
        state = " ".join(word for word in words if word in ("enabled", "active"))
        units[values.get("Id", "")] = Unit(state, values.get("LoadState") != "not-found")
    return units


def wanted_units(host: Host) -> Texts:
    """How our units should be. The service is not active between two runs."""
    return {SERVICE: "enabled", TIMER: "enabled active"} if host.systemd else {}


def drop_ins(device: str, bridge: str, sysctls: Texts, host: Host) -> dict[str, str | None]:
    """Files that keep others off our device, by path; ``None`` for those of managers that are not here.

    They have to be there before the device is.
    """
    # Up to 5.7, a full checksum by the VXLAN device goes wrong behind NAT with random-fully, and TCP stalls for 63 s.
    cure = "TransmitChecksumOffload=no\n" if host.kernel < (5, 8) else ""
    return {
        SYSCTL_FILE: WRITTEN_BY + "".join(f"{key} = {value}\n" for key, value in sysctls.items()),
        LINK_FILE: (
            f"{WRITTEN_BY}# systemd 242 and later would give the device a MAC of its own (flannel #1155).\n"
            f"[Match]\nOriginalName={device}\n\n[Link]\nMACAddressPolicy=none\n{cure}"
        ),
        NETWORK_FILE: (
            f"{WRITTEN_BY}[Match]\nName={device} {bridge}\n\n[Link]\nUnmanaged=yes\n"
            if host.units.get(NETWORKD)
            else None
        ),
        NETWORKD_FILE: (
            f"{WRITTEN_BY}# systemd-networkd would remove all routes and rules it did not make itself.\n"
            "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
            if host.units.get(NETWORKD)
            else None
        ),
        NETWORK_MANAGER_FILE: (
            f"{WRITTEN_BY}# [device] alone would not let go of a device that is there already, and without it\n"
            "# another file that sets unmanaged-devices anew would undo this one.\n"
            f"[keyfile]\nunmanaged-devices+=interface-name:{device};interface-name:{bridge}\n\n"
            f"[device-tke-overlay]\nmatch-device=interface-name:{device};interface-name:{bridge}\nmanaged=0\n"
            if host.units.get(NETWORK_MANAGER)
            else None
        ),
    }


def wanted_sysctls(device: str, peers: int, host: Host, found: t.Callable[[t.Iterable[str]], Texts]) -> Texts:
    """Forwarding; loose reverse-path filtering; on old kernels, room for the neighbours.

    :param found: reads sysctls.
    """
    sysctls = {
        "net.ipv4.ip_forward": "1",
        # Strict as some distributions have it, a Pod that answers by another way than it was asked is not heard.
        # systemd 245 and later sets it anew for every device that appears: hence the late file, and the script.
        f"net/ipv4/conf/{device}/rp_filter": "2",
    }
    if host.kernel < (5, 0):
        # Permanent neighbours count until 5.0; only ever raised, and absent in a network namespace.
        room = 1024
        while room < 2 * peers:
            room *= 2
        keys = {f"net.ipv4.neigh.default.gc_thresh{number}": room * number // 3 for number in (1, 2, 3)}
        sysctls.update({key: str(max(int(value), keys[key])) for key, value in found(keys).items()})
    return sysctls


def state_files(state: State) -> Texts:
    """The saved state, by path."""
    link, header = state.link, WRITTEN_BY
    address = " ".join(link.addresses or ())
    settings = {
        "device": link.name,
        "alias": ALIAS,
        "bridge": state.bridge,
        "vni": link.vni,
        "port": link.port,
        "local": link.local,
        "mac": link.mac,
        "mtu": link.mtu,
        "address": address,
        "cidrs": " ".join(state.cidrs),
    }
    texts = {
        "summary": header + "".join(f"{key}: {value}\n" for key, value in state.summary.items()),
        "settings": header + "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in settings.items()),
        "fleet": state.fleet,
        "link.batch": "".join(f"{line}\n" for line in compare_link(link, []).lines),
        "rules.nft": state.rules,
        "sysctl": "".join(f"{files.sysctl_path(key)} {state.sysctls[key]}\n" for key in state.sysctls),
        "restore": SCRIPT,
    }
    for table, wanted in state.tables:
        # In the order of sort(1), because the script compares with comm(1).
        texts[f"{table.name}.batch"] = "".join(sorted(f"{table.put(key, spec)}\n" for key, spec in wanted.items()))
    return {f"{STATE}/{name}": texts[name] for name in STATE_FILES}


def unit_files(interval: int, host: Host) -> Texts:
    """The units, by path."""
    if not host.systemd:
        return {}
    return {
        path: WRITTEN_BY + text
        for path, text in zip(UNIT_FILES, (_SERVICE_TEXT, _TIMER_TEXT.format(interval=interval)))
    }


def line_diff(before: str, after: str) -> tuple[str, str]:
    """Two texts without the lines they share, for a diff that does not show 5,000 peers because of one."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    shared = set(old) & set(new)
    return "".join(line for line in old if line not in shared), "".join(line for line in new if line not in shared)


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """While Ansible is at work the script waits, and the other way round; it takes the same lock by flock(1).

    :raises KernelError: somebody holds it for too long.
    """
    path = files.ROOT + LOCK
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError(f"{path} cannot be opened: {error}") from error
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise KernelError(f"somebody has held {path} for {LOCK_SECONDS} s: is {SERVICE} stuck?") from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def finish_confirmation() -> None:
    """Does the rest of a confirmation that a loss of power cut short, as the script would. Called with the lock held.

    :raises KernelError: a file cannot get to its place.
    """
    beside = files.ROOT + CONFIRMED
    if not os.path.isdir(beside):
        return
    try:
        for name in os.listdir(beside):
            os.replace(f"{beside}/{name}", f"{files.ROOT}{STATE}/{name}")
        os.rmdir(beside)
    except OSError as error:
        raise KernelError(f"the saved state in {CONFIRMED} cannot take its place: {error}") from error


def settle_units(written: t.Iterable[str], host: Host, run: Run) -> None:
    """Makes the units what their files say, after ``written`` (paths) were written or removed.

    :raises KernelError: systemd refused.
    """
    for _systemctl_itself, *words in unit_commands(written, host):
        _systemctl(run, *words)


def unit_commands(written: t.Iterable[str], host: Host) -> t.Iterator[t.Sequence[str]]:
    """The commands by which :func:`settle_units` does that."""
    new = not set(written).isdisjoint(UNIT_FILES)
    wrong = differing_units(host)
    if wrong:
        # What is enabled counts at the next boot; without the reload that comes with it, this is eight times as fast.
        yield ("systemctl", "--quiet", "--no-reload", "enable", SERVICE, TIMER)
    if new and host.loaded:
        yield ("systemctl", "daemon-reload")
    if new or TIMER in wrong:
        yield ("systemctl", "restart", TIMER)


def tell_managers(written: t.Iterable[str], host: Host, run: Run) -> None:
    """Lets network managers that are at work read their drop-ins, before there is a device to manage.

    Neither drops a connection for that. What networkd.conf.d says is read when networkd starts, which is also
    when it would remove foreign routes.
    """
    names = set(written)
    if NETWORK_FILE in names and "active" in host.units.get(NETWORKD, ""):
        run(("networkctl", "reload"), None)  # not before systemd 244
    if NETWORK_MANAGER_FILE in names and "active" in host.units.get(NETWORK_MANAGER, ""):
        _systemctl(run, "reload", NETWORK_MANAGER)


def retelling_commands(written: t.Iterable[str], host: Host) -> t.Iterator[t.Sequence[str]]:
    """What has managers read a drop-in again once it is in ``/etc`` and no longer below ``/run``.

    NetworkManager reads all files below ``/run`` before any in ``/etc``, whatever their names: until then, one
    in ``/etc`` that sets unmanaged-devices anew has undone ours. networkd goes by the names alone.
    """
    if NETWORK_MANAGER_FILE in set(written) and "active" in host.units.get(NETWORK_MANAGER, ""):
        yield ("systemctl", "reload", NETWORK_MANAGER)


def differing_units(host: Host) -> Texts:
    """Those of our units that are not as they should be."""
    return files.differing(host.units, wanted_units(host))


def stop_units(host: Host, run: Run) -> None:
    """Stops and disables what is there of our units."""
    there = our_units(host)
    if there:
        _systemctl(run, "--quiet", "disable", "--now", *there)


def our_units(host: Host) -> list[str]:
    """Those of our units that are enabled or active."""
    return [name for name in (TIMER, SERVICE) if host.units.get(name)]


def forget_units(run: Run) -> None:
    """After the files of the units were removed."""
    _systemctl(run, "daemon-reload")


def saved_summary() -> dict[str, str]:
    """What :func:`state_files` has saved in ``summary``; nothing if there is no such file."""
    text = files.read_files([SUMMARY]).get(SUMMARY, "")
    pairs = [line.partition(": ") for line in text.splitlines() if not line.startswith("#")]
    return {key: value for key, mark, value in pairs if mark}


def saved_settings() -> dict[str, str]:
    """What :func:`state_files` has saved in ``settings``; nothing if there is no such file."""
    text = files.read_files([SETTINGS]).get(SETTINGS, "")
    pairs = [word.partition("=") for word in shlex.split(text, comments=True)]
    return {key: value for key, _mark, value in pairs}


def _systemctl(run: Run, *words: str) -> None:
    code, _out, errors = run(("systemctl", *words), None)
    if code != 0:
        raise KernelError(f"systemctl {' '.join(words)}: {words_of(code, errors)}")


# After those who flush all rules when they start, before those who start Pods. It need not wait for an address from
# DHCP: the kernel takes link, routes and entries without, and they work from the moment the address is there.
# LogLevelMax keeps systemd from noting every start and end of a run that had nothing to do.
_SERVICE_TEXT = f"""\
[Unit]
Description=Put back what is missing of the overlay network
After=network.target nftables.service iptables.service firewalld.service systemd-sysctl.service
Before=kubelet.service
ConditionPathExists={STATE}/restore

[Service]
Type=oneshot
ExecStart=/bin/sh {STATE}/restore
LogLevelMax=notice

[Install]
WantedBy=multi-user.target
"""

_TIMER_TEXT = f"""\
[Unit]
Description=Look now and then whether the overlay network is whole

[Timer]
Unit={SERVICE}
OnActiveSec={{interval}}s
OnUnitInactiveSec={{interval}}s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""

SCRIPT = r"""#!/bin/sh
# Written by tke.overlay; changes are lost with its next run.
#
# Makes the kernel hold what the files beside this one say, and tells what was otherwise; silent when nothing was.
# Run by tke-overlay.service at boot and by tke-overlay.timer now and then; harmless at any time.

set -u
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}
run=${TKE_OVERLAY_RUN:-/run/tke-overlay}
notice='' warning=''
if [ -n "${JOURNAL_STREAM:-}" ]; then notice='<5>' warning='<4>'; fi
told='' failed=0

tell() { told="$told${told:+; }$*"; }

complain() {
    failed=1
    echo "${warning}tke-overlay: $*" >&2
}

# Runs a command; what it says against it is one complaint.
try() {
    "$@" 2>"$work/errors" && [ ! -s "$work/errors" ] && return
    complain "$(head -n 3 "$work/errors" | tr '\n' ' ')"
    return 1
}

mkdir -p "$run"
# Ansible takes the same lock.
exec 9>"$run/lock"
if ! flock -w 60 9; then
    complain "somebody has held $run/lock for 60 s"
    exit 1
fi
# A change that waits for its confirmation is left alone, until its time is over: then it should be gone.
if [ -e "$run/pending/deadline" ]; then
    read -r now _idle </proc/uptime
    read -r deadline <"$run/pending/deadline"
    if [ "${now%.*}" -lt "${deadline:-0}" ]; then exit 0; fi
    exec 9>&-
    exec /bin/sh "$run/pending/undo" 'nobody confirmed it, and its timer was lost'
fi

# A loss of power came between a confirmation and the places of its files. They all are here, this script among them.
finish_confirmation() {
    set -- "$here/.confirmed"/*
    if [ -e "$1" ]; then mv -f "$@" "$here/" || return; fi
    rmdir "$here/.confirmed"
}

if [ -d "$here/.confirmed" ]; then
    if ! finish_confirmation; then
        complain "the saved state in $here/.confirmed cannot take its place"
        exit 1
    fi
    echo "${notice}tke-overlay: took over what was confirmed right before a loss of power"
    exec /bin/sh "$0"
fi

work=$(mktemp -d "$run/work.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # come from there
: "$device $alias $vni $port $local $mac $mtu $address $cidrs"

# --- the device ---

# What is wrong with the device: $anew says why it must be made, $wrong what must be changed, by the lines of $work/set.
look_at_link() {
    anew='' wrong=''
    : >"$work/set"
    if ! ip -o -d link show dev "$device" >"$work/link" 2>/dev/null; then
        anew='it was missing'
        return
    fi
    read -r line <"$work/link"
    case "$line " in *" vxlan "*) ;; *)
        complain "$device is no VXLAN link: somebody else has made it"
        return 1 ;;
    esac
    for words in "id $vni" "dstport $port"; do
        case "$line " in *" $words "*) ;; *) anew="it had not $words" ;; esac
    done
    case "${line#* vxlan } " in *" remote "* | *" group "*) anew='it had a default destination' ;; esac
    case "$line " in *" alias $alias "*) ;; *)
        if [ -n "$anew" ]; then
            complain "$device is a VXLAN link that somebody else has made: $anew"
            return 1
        fi ;;
    esac
    # Each only where it is wrong: to set the MAC, even to what it is, costs all neighbours.
    has "local $local" "type vxlan local $local"
    has nolearning 'type vxlan nolearning'
    has "link/ether $mac" "address $mac"
    has "mtu $mtu" "mtu $mtu"
    has "alias $alias" "alias $alias"
    case $line in *[\<,]UP[,\>]*) ;; *) amend 'it was down' "link set $device up" ;; esac
    look_at_addresses
}

has() {
    case "$line " in *" $1 "*) ;; *) amend "it had not $1" "link set $device $2" ;; esac
}

amend() {
    wrong="$wrong${wrong:+, }$1"
    echo "$2" >>"$work/set"
}

look_at_addresses() {
    there=''
    ip -o address show dev "$device" >"$work/addresses"
    while read -r _number _device _family found _rest; do
        case $found in fe80:*) continue ;; esac
        if [ "$found" = "$address" ]; then there=yes; else amend "it had $found" "address del $found dev $device"; fi
    done <"$work/addresses"
    if [ -z "$there" ]; then amend "it had not $address" "address replace $address dev $device"; fi
}

put_link() {
    look_at_link || return
    if [ -n "$anew" ]; then
        if [ "$anew" != 'it was missing' ]; then try ip link del dev "$device"; fi
        # While the port is being changed a second link of ours has the other one, which may be the one wanted here.
        case "$(ip -o link show dev tke-ear 2>/dev/null) " in *" alias $alias "*) ip link del dev tke-ear ;; esac
        try ip -batch "$here/link.batch"
        tell "device $device: $anew"
    elif [ -n "$wrong" ]; then
        try ip -force -batch "$work/set"
        tell "device $device: $wrong"
    fi
}

# --- its tables ---

# What the kernel holds of a table and is ours, in the words of its batch.
listed() {
    case $1 in
        route)
            {
                ip -4 route show table main proto 84 | grep -F -e " dev $device "
                # Blackholes have no device; those of our protocol elsewhere are another task's.
                for cidr in $cidrs; do ip -4 route show table main root "$cidr" proto 84 type blackhole; done
            } 2>/dev/null | sed -e 's/ *$//' -e 's/.*/route replace & proto 84/' ;;
        neighbor)
            ip -4 neigh show dev "$device" nud permanent 2>/dev/null |
                sed "s/ *PERMANENT *\$//; s/.*/neigh replace & dev $device nud permanent/" ;;
        fdb)
            bridge fdb show dev "$device" 2>/dev/null |
                sed -n "s/^\([^ ]*\) \(dst .*self permanent\) *\$/fdb replace \1 dev $device \2/p" ;;
    esac
}

compare() {
    listed "$1" | sort >"$work/$1.is"
    : >"$work/$1.put"
    : >"$work/$1.drop"
    if [ ! -s "$work/$1.is" ]; then # as after a boot
        cp "$here/$1.batch" "$work/$1.put"
        return
    fi
    cmp -s "$work/$1.is" "$here/$1.batch" && return
    comm -13 "$work/$1.is" "$here/$1.batch" >"$work/$1.put"
    comm -23 "$work/$1.is" "$here/$1.batch" | sed \
        -e 's/^route replace/route del/' \
        -e 's/^neigh replace \([^ ]*\) .*/neigh del \1 dev '"$device/" \
        -e 's/^fdb replace \(.*\) permanent$/fdb del \1/' >"$work/$1.drop"
}

# Few entries by their names, many by their number.
tell_lines() {
    [ -s "$3" ] || return
    many=$(wc -l <"$3")
    if [ "$many" -le 2 ]; then
        while read -r _table _verb key rest; do
            if [ "$key" = blackhole ]; then key="$key ${rest%% *}"; fi
            tell "$1 $key: $2"
        done <"$3"
    else
        tell "$1: $many $2"
    fi
}

# `replace` would overwrite the route of somebody else to the same place: left to a human.
spare_foreign_routes() {
    ip -4 route show table main | sed 's/$/ /' | grep -v -F -e " dev $device " -e ' metric ' |
        sed -e 's/^[a-z]* \([0-9]\)/\1/' -e 's/ .*/ /' -e 's/^/route replace /' >"$work/foreign"
    [ -s "$work/foreign" ] && grep -F -f "$work/foreign" "$work/route.put" >"$work/taken" || return
    complain "a route that is not ours stands in the place of: $(head -n 3 "$work/taken" | tr '\n' ';')"
    grep -v -F -f "$work/foreign" "$work/route.put" >"$work/route.free"
    mv "$work/route.free" "$work/route.put"
}

batch() {
    [ -s "$2" ] || return
    "$1" -force -batch "$2" 2>"$work/errors" && return
    # `ip neigh` ends a batch at its first failure, -force or not. What is done already does no harm again.
    case $2 in *neighbor*)
        while read -r line; do
            # shellcheck disable=SC2086 # a line is words
            ip $line 2>>"$work/errors"
        done <"$2" ;;
    esac
    complain "$(head -n 3 "$work/errors" | tr '\n' ' ')"
}

# Routes go first and come last: none ever points to an entry that is not there.
put_tables() {
    for table in route fdb neighbor; do compare "$table"; done
    if [ -s "$work/route.put" ]; then spare_foreign_routes; fi
    for table in route fdb neighbor; do
        tell_lines "$table" missing "$work/$table.put"
        tell_lines "$table" surplus "$work/$table.drop"
    done
    batch ip "$work/route.drop"
    batch bridge "$work/fdb.drop"
    batch ip "$work/neighbor.drop"
    batch ip "$work/neighbor.put"
    batch bridge "$work/fdb.put"
    batch ip "$work/route.put"
}

# The way to the load balancer, where api_endpoint has made one: a route of ours on a device that is not.
put_way() {
    [ -s "$here/endpoint.batch" ] || return
    read -r line <"$here/endpoint.batch"
    spec=${line#route replace }
    subnet=${spec%% *}
    ip -4 route show table main exact "$subnet" proto 84 2>/dev/null | sed 's/ *$//' >"$work/way"
    if echo "${spec% proto 84}" | cmp -s - "$work/way"; then return; fi
    if [ ! -s "$work/way" ] && ip -4 route show table main exact "$subnet" | grep -q -v -F ' metric '; then
        complain "a route that is not ours stands in the place of: $line"
        return
    fi
    # shellcheck disable=SC2086 # a line is words
    try ip $line && tell "route $subnet: it was missing"
}

# --- rules and sysctls ---

# As long as nft lists what it listed right after the load, nothing has changed.
put_rules() {
    nft -s list table inet tke_overlay >"$work/rules" 2>/dev/null
    cmp -s "$work/rules" "$run/rules.listing" && cmp -s "$here/rules.nft" "$run/rules.nft" && return
    try nft -f "$here/rules.nft" || return
    nft -s list table inet tke_overlay >"$work/again" 2>/dev/null
    if [ ! -s "$work/rules" ]; then tell 'rules: missing'
    elif ! cmp -s "$work/rules" "$work/again"; then tell 'rules: changed'
    fi
    mv "$work/again" "$run/rules.listing"
    cp "$here/rules.nft" "$run/rules.nft"
}

put_sysctls() {
    while read -r key value; do
        found=''
        if [ -e "/proc/sys/$key" ]; then read -r found <"/proc/sys/$key"; fi
        if [ "$found" = "$value" ]; then continue; fi
        if echo "$value" 2>/dev/null >"/proc/sys/$key"; then
            tell "sysctl $key: $found"
        else
            complain "sysctl $key cannot be set"
        fi
    done <"$here/sysctl"
}

# The rules before the device: nothing is let in that they would have stopped.
put_rules
put_link
put_sysctls
put_tables
put_way

if [ -n "$told" ]; then echo "${notice}tke-overlay: put back: $told"; fi
exit "$failed"
"""
