# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and load the files of one host of the load balancer pair (haproxy.cfg, keepalived.conf, rules), or remove them.

The steps: read, compare, validate every new configuration with its own program,
write, reload what has changed, and read back. The proxy itself reports which
configuration it runs. A unit is restarted only if its file changed; a new
configuration is loaded by a reload, which drops no connection.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import tempfile
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address, network_problems
from ansible_collections.tke.overlay.plugins.module_utils._balancer import VIPS
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    PROGRAM_PATH,
    RIGHTS,
    FileSpecs,
    Texts,
    differing,
    put_file,
    read_files,
    remove_file,
    write_file,
    wrong_rights,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import delete_table
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, read_json
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent, programs
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.clb_metrics import parse_config
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    CA_FILE,
    CHECKSUMS_FILE,
    DIRECTORY,
    HAPROXY_FILE,
    HAPROXY_UNIT,
    HEALTH_AGENT_FILE,
    HEALTH_AGENT_UNIT,
    KEEPALIVED_FILE,
    KEEPALIVED_UNIT,
    LOADED_FILE,
    METRICS_FILE,
    METRICS_FILES,
    NEWEST_HAPROXY,
    OLDEST_HAPROXY,
    RESTORE_FILE,
    RESTORE_UNIT,
    RULES_FILE,
    RUN_DIRECTORY,
    TABLE,
    TIMER_UNIT,
    UNFINISHED_FILE,
    UNITS,
    HostLinks,
    config_id_in,
    haproxy_cfg,
    keepalived_conf,
    metrics_files,
    rules,
    units,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import PairSpec, problems_of
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.status import (
    FILES,
    WANTED_STATE,
    rules_drift,
    running_config_id,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import pair_cluster
from ansible_collections.tke.overlay.plugins.module_utils._host.state.interpreter import stable_python
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    PAIR_CLUSTER_FILE,
    UNIT_DIRECTORY,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import systemctl, unit_states
from ansible_collections.tke.overlay.plugins.module_utils._metrics import CLB
from ansible_collections.tke.overlay.plugins.module_utils._metrics import FILES as METRIC_FILES

PROGRAMS = ("haproxy", "keepalived")

READY_SECONDS = 10


class UnitAction(t.NamedTuple):
    """What a unit needs (reload, restart, which also starts it, start or stop), and its state before."""

    unit: str
    verb: str
    before: str


_DONE = {"reload": "reloaded", "restart": "restarted", "start": "started", "stop": "stopped"}


class PairResult(t.NamedTuple):
    """The changes that were made, or that would be made in check mode, and HAProxy's warnings of its configuration."""

    files: list[Diff]
    actions: list[UnitAction]
    warnings: t.Sequence[str] = ()

    @property
    def changed(self) -> bool:
        """Whether there is any change."""
        return bool(self.files or self.actions)

    def diffs(self) -> t.Iterator[Diff]:
        """Return the differences, files first, then units."""
        yield from self.files
        for action in self.actions:
            yield Diff(f"unit {action.unit}", f"{action.before}\n", f"{_DONE[action.verb]}\n")


def missing_programs() -> list[str]:
    """Return the programs of the distribution that this host lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=PROGRAM_PATH) is None]


def converge(spec: PairSpec, run: Run, check: bool) -> PairResult:
    """Bring this host into the state of the specification; with ``check`` only determine what would change.

    :raises ValidationError: the specification is invalid or does not fit this host, or a program rejects its
        configuration; nothing was changed.
    :raises KernelError: a command failed, or a service does not become ready.
    """
    check_cluster(spec.cluster, spec.take_over)
    links = _find_links(spec, run)
    missing = missing_programs()
    if missing and not check:
        raise ValidationError(f"this host has no {' and no '.join(missing)}: install the packages of these names")
    wanted = _wanted_files(spec, links, stable_python(run))
    specs: FileSpecs = {**dict.fromkeys([CA_FILE, *METRICS_FILES, *written_metrics(spec.metrics_dir)]), **wanted}
    found = read_files(specs)
    changed = [Diff(name, found.get(name, ""), text or "") for name, text in differing(found, specs).items()]
    warnings = _validate(spec, links, run) if changed and not missing else []
    rights = [
        Diff(name, f"{text}\n", f"{RIGHTS}\n")
        for name, text in wrong_rights(wanted).items()
        if name not in {diff.name for diff in changed}
    ]
    new = {diff.name for diff in changed} | set(read_files([UNFINISHED_FILE]).get(UNFINISHED_FILE, "").splitlines())
    result = PairResult([*changed, *rights], _needed_actions(wanted, new, run), warnings)
    if result.changed and not check:
        _apply(specs, new, result, run)
        _wait_until_ready(wanted, run)
    return result


def remove(run: Run, check: bool) -> PairResult:
    """Remove everything that :func:`converge` installs; the programs and their other instances stay."""
    found = read_files((*FILES, *written_metrics()))
    states = _states(run)
    actions = [UnitAction(unit, "stop", states[unit]) for unit in reversed(UNITS) if states[unit]]
    result = PairResult([Diff(name, text, "") for name, text in found.items()], actions)
    if result.changed and not check:
        for action in actions:
            _systemctl(run, "disable", "--now", action.unit)
        if f"{UNIT_DIRECTORY}/{RESTORE_UNIT}" in found:
            _systemctl(run, "stop", RESTORE_UNIT)  # a run of it could load the rules again
        delete_table(TABLE, run)
        for name in found:
            remove_file(name)
        with contextlib.suppress(OSError):  # missing, or it holds files of another program
            os.rmdir(files.ROOT + DIRECTORY)
        shutil.rmtree(files.ROOT + RUN_DIRECTORY, ignore_errors=True)
        _systemctl(run, "daemon-reload")
    return result


def check_cluster(cluster: str, take_over: t.Container[str]) -> None:
    """Raise an error if this host carries the load balancer of another cluster that is not in ``take_over``.

    :param cluster: the cluster of the inventory; empty: any.
    """
    other = pair_cluster()
    if cluster and other not in ("", cluster) and other not in take_over:
        raise ValidationError(
            f"this host carries the load balancer of cluster {other!r}, and overlay_cluster is {cluster!r}: correct "
            f"group clb, or remove it first (tke.overlay.clb_release with the inventory of {other!r}), or take the "
            f"host over: -e overlay_take_over={other}"
        )


def written_metrics(directory: str = "") -> list[str]:
    """Return the path of the metrics that this host writes by its files, if it is in another directory than this one.

    A file that is not written any more would report the state of that time for ever.
    """
    former = parse_config(read_files([METRICS_FILE]).get(METRICS_FILE, "")).directory
    return [f"{former}/{METRIC_FILES[CLB]}"] if former not in ("", directory) else []


# --- the wanted state ------------------------------------------------------------------------


def _find_links(spec: PairSpec, run: Run) -> HostLinks:
    """Return the links that VRRP and the VIPs use.

    :raises ValidationError: every reason why this host cannot be a host of the pair.
    """
    problems = list(problems_of(spec))
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        problems.append("this host does not run systemd, which keeps the load balancer running")
    addresses = _addresses(run)
    own = [device for device, address, _length in addresses if address == spec.own.address and device != "lo"]
    listing = ", ".join(f"{device} {address}/{length}" for device, address, length in addresses) or "none"
    if not own and is_ipv4_address(spec.own.address):
        problems.append(
            f"host {spec.own.name} has its address {spec.own.address} on none of its links ({listing}): set "
            f"overlay_underlay_ip to the address by which the other host of the pair reaches it"
        )
    vips = _links_of_subnet(spec, addresses)
    if not vips and not network_problems("", spec.subnet):
        problems.append(
            f"host {spec.own.name} has no address in {spec.subnet} (overlay_clb_subnet) on any of its links "
            f"({listing}), so it cannot carry the VIPs: use a host of that subnet"
        )
    gateways = _gateways(run)
    for gateway in gateways:
        names = [name for name, address in spec.vips.items() if address == gateway]
        problems += [f"the VIP {name} {gateway} is the gateway of host {spec.own.name}" for name in names]
    version = _haproxy_version(run)
    if version < OLDEST_HAPROXY:
        problems.append(
            f"host {spec.own.name} has HAProxy {'.'.join(map(str, version))}, and the load balancer requires "
            f"{'.'.join(map(str, OLDEST_HAPROXY))} or later: upgrade the package haproxy"
        )
    if problems:
        raise ValidationError(*problems)
    return HostLinks(
        own=own[0],
        vips=own[0] if own[0] in vips else vips[0],
        gateways=gateways,
        haproxy=version,
        keepalived_notifies=_keepalived_notifies(run),
        addresses=[address for _device, address, _length in addresses],
    )


def _links_of_subnet(spec: PairSpec, addresses: t.Sequence[tuple[str, str, int]]) -> list[str]:
    """Return the links that are in the subnet of the VIPs.

    A link that only has a single address of it leads nowhere: the loopback link, or a dummy one such as kube-ipvs0.
    The address by which the other host reaches this one is an exception, as some clouds assign it without a subnet.
    """
    return [
        device
        for device, address, length in addresses
        if _is_in(address, spec.subnet)
        and address not in spec.vips.values()
        and device != "lo"
        and (length < 32 or address == spec.own.address)
    ]


def _haproxy_version(run: Run) -> tuple[int, int]:
    """Return the version of HAProxy; in check mode, a host need not have it yet."""
    if "haproxy" in missing_programs():
        return NEWEST_HAPROXY
    _code, out, _errors = run(("haproxy", "-v"), None)
    found = re.search(r"version (\d+)\.(\d+)", out)
    return (int(found[1]), int(found[2])) if found else NEWEST_HAPROXY


def _keepalived_notifies(run: Run) -> bool:
    """Return whether keepalived was built to notify systemd when it is ready; in check mode, it can be missing."""
    if "keepalived" in missing_programs():
        return True
    _code, out, errors = run(("keepalived", "--version"), None)
    return "SYSTEMD_NOTIFY" in out + errors


def _addresses(run: Run) -> list[tuple[str, str, int]]:
    """Return device, address and prefix length of every IPv4 address of this host."""
    rows = read_json(("ip", "-json", "-4", "address", "show"), run)
    return [
        (str(row["ifname"]), str(each["local"]), int(each["prefixlen"]))
        for row in rows
        for each in row.get("addr_info", [])
        if "local" in each
    ]


def _gateways(run: Run) -> list[str]:
    rows = read_json(("ip", "-json", "-4", "route", "show", "default"), run)
    return sorted({str(row["gateway"]) for row in rows if "gateway" in row})


def _is_in(address: str, subnet: str) -> bool:
    return not network_problems("", subnet) and ipaddress.ip_address(address) in ipaddress.ip_network(subnet)


def _wanted_files(spec: PairSpec, links: HostLinks, python: str) -> Texts:
    """Return path -> text of every file; without a CA or a cluster, its file is left out. The checksums are last."""
    texts = {
        **({PAIR_CLUSTER_FILE: f"{spec.cluster}\n"} if spec.cluster else {}),
        **({CA_FILE: f"{spec.ca.strip()}\n"} if spec.ca.strip() else {}),
        HAPROXY_FILE: haproxy_cfg(spec, links),
        KEEPALIVED_FILE: keepalived_conf(spec, links),
        RULES_FILE: rules(spec),
        HEALTH_AGENT_FILE: WRITTEN_BY + programs.HEALTH_AGENT_PY,
        RESTORE_FILE: programs.RESTORE_PAIR_SH,
        **metrics_files(spec),
        **units(spec, links, python),
    }
    return {**texts, CHECKSUMS_FILE: checksums_text(CHECKSUMS_FILE, texts)}


def _validate(spec: PairSpec, links: HostLinks, run: Run) -> list[str]:
    """Let each program check its new configuration in a temporary directory, before any file is replaced.

    The directory also has the files that keepalived tracks: its version 2.3 rejects a configuration without them, and
    the health agent creates them later.

    :returns: what HAProxy warns of in its configuration, such as a keyword that a later version does not have.
    :raises ValidationError: what a program says about the configuration that it rejects.
    """
    with tempfile.TemporaryDirectory(prefix="tke-overlay-clb-") as directory:
        texts = {
            "api-ca.crt": spec.ca,
            "haproxy.cfg": haproxy_cfg(spec, links, directory),
            "keepalived.conf": keepalived_conf(spec, links, directory),
            "rules.nft": rules(spec),
            **dict.fromkeys(VIPS, "0\n"),
        }
        paths = {name: os.path.join(directory, name) for name in texts}
        for name, text in texts.items():
            with open(paths[name], "w", encoding="utf-8") as stream:
                stream.write(text)
        problems, warnings = [], []
        for command in (
            ("haproxy", "-c", "-f", paths["haproxy.cfg"]),  # without -q, which suppresses the reason as well
            ("keepalived", "--config-test", f"--use-file={paths['keepalived.conf']}"),
            ("nft", "--check", "--file", paths["rules.nft"]),
        ):
            code, out, errors = run(command, None)
            output = (out + errors).replace(f"{directory}/", "")
            if code != 0:
                problems.append(f"{command[0]} rejects its new configuration: {' '.join(output.split())}")
            warnings += _warnings_in(output)
    if problems:
        raise ValidationError(*problems)
    return warnings


def _warnings_in(output: str) -> list[str]:
    """Return HAProxy's warnings of its configuration. Others concern the moment, such as a silent DNS server."""
    lines = [line for line in output.splitlines() if line.startswith("[WARNING]") and "haproxy.cfg:" in line]
    return [f"haproxy: {' '.join(line.split())}" for line in lines]


# --- applying it -----------------------------------------------------------------------------


def _needed_actions(wanted: Texts, names: t.AbstractSet[str], run: Run) -> list[UnitAction]:
    """Return what each unit needs, considering its state and the files that are about to change.

    This compares what runs, not only the files: the next run finishes one that was
    interrupted between writing the files and reloading the units.

    :param names: these files, and those of a run that was interrupted.
    """
    states = _states(run)
    actions = []
    running = running_config_id()
    haproxy_is_stale = CA_FILE in names or running != config_id_in(wanted[HAPROXY_FILE])
    loaded = read_files([LOADED_FILE]).get(LOADED_FILE)
    keepalived_is_stale = loaded != wanted[RULES_FILE] + wanted[KEEPALIVED_FILE]
    for unit, program, stale in (
        (HAPROXY_UNIT, "", haproxy_is_stale),
        (HEALTH_AGENT_UNIT, HEALTH_AGENT_FILE, False),
        (KEEPALIVED_UNIT, "", keepalived_is_stale),
        (TIMER_UNIT, f"{UNIT_DIRECTORY}/{RESTORE_UNIT}", False),
    ):
        if states[unit] != WANTED_STATE or not names.isdisjoint({f"{UNIT_DIRECTORY}/{unit}", program}):
            actions.append(UnitAction(unit, "restart", states[unit] or "missing"))
        elif unit == HAPROXY_UNIT and not running:
            # After a reload, a new process keeps the sockets of the old one, also one that another program has removed.
            actions.append(UnitAction(unit, "restart", "without an answer on its health socket"))
        elif stale:
            actions.append(UnitAction(unit, "reload", "with another configuration"))
    # keepalived loads the rules when it starts and reloads.
    if KEEPALIVED_UNIT not in {action.unit for action in actions} and rules_drift(wanted[RULES_FILE], run):
        actions.append(UnitAction(RESTORE_UNIT, "start", "with other rules in the kernel"))
    return actions


def _states(run: Run) -> Texts:
    """Return unit -> "enabled active", or the part of it that holds."""
    return {unit: state.state for unit, state in unit_states(UNITS, run).items()}


def _apply(specs: FileSpecs, new: t.Collection[str], result: PairResult, run: Run) -> None:
    """Write the files, then restart or reload the units.

    Until that is done, a note has the names of the new files: this run can be killed, and the next one must do it.
    """
    if new:
        write_file(UNFINISHED_FILE, "".join(f"{name}\n" for name in sorted(new)), durable=False)
    for diff in result.files:
        put_file(diff.name, specs[diff.name])
    if any(name.startswith(UNIT_DIRECTORY) for name in new):
        _systemctl(run, "daemon-reload")
    for action in result.actions:
        if action.verb == "restart":
            _systemctl(run, "enable", "--quiet", action.unit)
        _systemctl(run, action.verb, action.unit)
    remove_file(UNFINISHED_FILE)


def _systemctl(run: Run, *words: str) -> None:
    try:
        systemctl(run, *words)
    except KernelError as error:
        raise KernelError(f"{error}{_journal(run, words[-1])}") from error


def _wait_until_ready(wanted: Texts, run: Run) -> None:
    """Wait until the proxy reports the new configuration, all services run, and this host can take the VIPs.

    Only then may the other host be changed: until then, it alone can carry the VIPs.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        reason, unit = _not_ready(wanted, run)
        if not reason:
            return
        if time.monotonic() > deadline:
            raise KernelError(f"{reason} after {READY_SECONDS} s{_journal(run, unit)}")
        time.sleep(0.1)


def _not_ready(wanted: Texts, run: Run) -> tuple[str, str]:
    """Return why this host cannot take the VIPs now, and the unit whose journal may explain it; empty if it can."""
    if running_config_id() != config_id_in(wanted[HAPROXY_FILE]):
        return "HAProxy does not run its new configuration", HAPROXY_UNIT
    for unit, state in _states(run).items():
        if unit in UNITS and state != WANTED_STATE:
            return f"{unit} does not run", unit
    weights = health_agent.read_weights(files.ROOT + RUN_DIRECTORY, VIPS)
    if health_agent.FAULTY in weights.values():
        return f"{HEALTH_AGENT_UNIT} reports that HAProxy does not answer", HEALTH_AGENT_UNIT
    return "", ""


def _journal(run: Run, unit: str) -> str:
    """Return the end of a unit's journal, for an error message."""
    _code, out, _errors = run(("journalctl", "-q", "-o", "cat", "-n", "8", "--no-pager", "-u", unit), None)
    lines = "; ".join(line for line in out.splitlines() if line)
    return f"; end of its journal: {lines}" if lines else ""
