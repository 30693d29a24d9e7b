# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: making one host one of the pair that carries the private load balancer.

Read, compare, have every new configuration checked by its own program, write,
reload what has to be, and read back: the proxy itself says which configuration
it runs. A unit is restarted only where its file changed; a new configuration is
taken with a reload, which drops no connection.
"""

from __future__ import annotations

import contextlib
import inspect
import ipaddress
import os
import shutil
import sys
import tempfile
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    FileSpecs,
    Texts,
    differing,
    put_file,
    read_files,
    remove_file,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, error_text, read_json
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent as clb_watch
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    AGENT_FILE,
    AGENT_UNIT,
    CA_FILE,
    DIRECTORY,
    HAPROXY_FILE,
    HEALTH_SOCKET,
    KEEPALIVED_FILE,
    LOADED,
    PROXY_UNIT,
    RULES_FILE,
    RUN_DIRECTORY,
    TABLE,
    UNITS,
    VIPS,
    VIPS_UNIT,
    PairSpec,
    VrrpPlace,
    haproxy_cfg,
    keepalived_conf,
    problems_of,
    rules,
    units,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import UNIT_DIRECTORY, WRITTEN_BY
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import unit_states

PROGRAMS = ("haproxy", "keepalived")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

FILES = (
    *(CA_FILE, HAPROXY_FILE, KEEPALIVED_FILE, RULES_FILE, AGENT_FILE),
    *(f"{UNIT_DIRECTORY}/{unit}" for unit in UNITS),
)

READY_SECONDS = 10


class Act(t.NamedTuple):
    """What has to be done to a unit, and why: ``reload``, ``restart`` (which also starts) or ``stop``."""

    unit: str
    verb: str
    before: str


_DONE = {"reload": "reloaded", "restart": "restarted", "stop": "stopped"}


class PairResult(t.NamedTuple):
    """What was changed, or would be."""

    files: list[Diff]
    acts: list[Act]

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return bool(self.files or self.acts)

    def diffs(self) -> t.Iterator[Diff]:
        """Files first, then units."""
        yield from self.files
        for act in self.acts:
            yield Diff(f"unit {act.unit}", f"{act.before}\n", f"{_DONE[act.verb]}\n")


def missing_programs() -> list[str]:
    """What the distribution must bring and this host has not."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


def converge(spec: PairSpec, run: Run, check: bool) -> PairResult:
    """Makes this host what the specification says; with ``check`` only finds out what that would change.

    :raises ValidationError: the specification is wrong or does not fit this host, or a program refuses its
        configuration; nothing was changed.
    :raises KernelError: a service does not do what it should.
    """
    place = _insist(spec, run)
    missing = missing_programs()
    if missing and not check:
        raise ValidationError(f"this host has no {' and no '.join(missing)}: install the packages of these names")
    wanted = _wanted(spec, place)
    wishes: FileSpecs = {CA_FILE: None, **wanted}
    found = read_files(wishes)
    changed = [Diff(name, found.get(name, ""), text or "") for name, text in differing(found, wishes).items()]
    if changed and not missing:
        _validate(spec, place, run)
    outcome = PairResult(changed, _acts(wanted, changed, run))
    if outcome.changed and not check:
        _apply(wishes, outcome, run)
        _verify(wanted, run)
    return outcome


def remove(run: Run, check: bool) -> PairResult:
    """Takes all of that away again; the programs and whatever else they do on this host stay."""
    found = read_files(FILES)
    states = _states(run)
    acts = [Act(unit, "stop", states[unit]) for unit in reversed(UNITS) if states[unit]]
    outcome = PairResult([Diff(name, text, "") for name, text in found.items()], acts)
    if outcome.changed and not check:
        for act in acts:
            _systemctl(run, "disable", "--now", act.unit)
        # The first line, so that the second never fails.
        code, _out, errors = run(("nft", "-f", "-"), f"table {TABLE}\ndelete table {TABLE}\n")
        if code != 0:
            raise KernelError(f"nft cannot delete table {TABLE}: {error_text(code, errors)}")
        for name in found:
            remove_file(name)
        with contextlib.suppress(OSError):  # not there, or somebody else's files are in it
            os.rmdir(files.ROOT + DIRECTORY)
        shutil.rmtree(files.ROOT + RUN_DIRECTORY, ignore_errors=True)
        _systemctl(run, "daemon-reload")
    return outcome


# --- what must be ----------------------------------------------------------------------------


def _insist(spec: PairSpec, run: Run) -> VrrpPlace:
    """The links of this host that the two need, or every reason why it cannot be one of the pair."""
    problems = list(problems_of(spec))
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        problems.append("this host does not run systemd, which has to keep the load balancer running")
    links = _addresses(run)
    own = [device for device, address, _length in links if address == spec.own.address]
    listing = ", ".join(f"{device} {address}/{length}" for device, address, length in links) or "none"
    if not own:
        problems.append(
            f"host {spec.own.name} has its address {spec.own.address} on none of its links ({listing}): set "
            f"overlay_underlay_ip to the address by which the other host of the pair reaches it"
        )
    vips = [
        device
        for device, address, _length in links
        if _is_in(address, spec.subnet) and address not in spec.vips.values()
    ]
    if not vips:
        problems.append(
            f"host {spec.own.name} has no address in {spec.subnet} (overlay_clb_subnet) on any of its links "
            f"({listing}), so it cannot carry the VIPs: use a host of that subnet"
        )
    gateways = _gateways(run)
    for gateway in gateways:
        names = [name for name, address in spec.vips.items() if address == gateway]
        problems += [f"the VIP {name} {gateway} is the gateway of host {spec.own.name}" for name in names]
    if problems:
        raise ValidationError(*problems)
    return VrrpPlace(own[0], vips[0], gateways)


def _addresses(run: Run) -> list[tuple[str, str, int]]:
    """Device, address and prefix length of every IPv4 address here."""
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
    return ipaddress.IPv4Address(address) in ipaddress.IPv4Network(subnet, strict=False)


def _wanted(spec: PairSpec, place: VrrpPlace) -> Texts:
    """Every file with its text; without a CA there is no file of it."""
    return {
        **({CA_FILE: f"{spec.ca.strip()}\n"} if spec.ca.strip() else {}),
        HAPROXY_FILE: haproxy_cfg(spec, place),
        KEEPALIVED_FILE: keepalived_conf(spec, place),
        RULES_FILE: rules(spec),
        AGENT_FILE: WRITTEN_BY + inspect.getsource(clb_watch),
        **units(spec, place, sys.executable),
    }


def _validate(spec: PairSpec, place: VrrpPlace, run: Run) -> None:
    """Has each program look at its new configuration, somewhere else, before anything is replaced."""
    with tempfile.TemporaryDirectory(prefix="tke-overlay-clb-") as beside:
        texts = {
            "api-ca.crt": spec.ca,
            "haproxy.cfg": haproxy_cfg(spec, place, beside),
            "keepalived.conf": keepalived_conf(spec, place),
            "rules.nft": rules(spec),
        }
        paths = {name: os.path.join(beside, name) for name in texts}
        for name, text in texts.items():
            with open(paths[name], "w", encoding="utf-8") as stream:
                stream.write(text)
        problems = []
        for command in (
            ("haproxy", "-c", "-q", "-f", paths["haproxy.cfg"]),
            ("keepalived", "--config-test", f"--use-file={paths['keepalived.conf']}"),
            ("nft", "--check", "--file", paths["rules.nft"]),
        ):
            code, out, errors = run(command, None)
            if code != 0:
                said = " ".join((out + errors).replace(f"{beside}/", "").split())
                problems.append(f"{command[0]} refuses its new configuration: {said}")
    if problems:
        raise ValidationError(*problems)


# --- what has to be done ---------------------------------------------------------------------


def _acts(wanted: Texts, changed: t.Sequence[Diff], run: Run) -> list[Act]:
    """What each unit needs, as it is and with the files that are about to change.

    What runs is compared, not only what lies there: a run that died between the
    two is finished by the next one.
    """
    names, states = {diff.name for diff in changed}, _states(run)
    acts = []
    proxy_is_stale = CA_FILE in names or _running_config() != _config_of(wanted[HAPROXY_FILE])
    vips_are_stale = read_files([LOADED]).get(LOADED) != wanted[RULES_FILE] + wanted[KEEPALIVED_FILE]
    for unit, program, stale in (
        (PROXY_UNIT, "", proxy_is_stale),
        (AGENT_UNIT, AGENT_FILE, False),
        (VIPS_UNIT, "", vips_are_stale),
    ):
        if states[unit] != "enabled active" or not names.isdisjoint({f"{UNIT_DIRECTORY}/{unit}", program}):
            acts.append(Act(unit, "restart", states[unit] or "missing"))
        elif stale:
            acts.append(Act(unit, "reload", "with another configuration"))
    return acts


def _states(run: Run) -> Texts:
    """Unit -> "enabled active", or as much of it as is so."""
    return {unit: state.state for unit, state in unit_states(UNITS, run).items()}


def _config_of(text: str) -> str:
    """The name of a configuration, which its own health frontend tells."""
    return text.rpartition('lf-string "config=')[2].partition(" ")[0]


def _running_config() -> str:
    try:
        return clb_watch.ask(files.ROOT + HEALTH_SOCKET).get("config", "")
    except OSError:
        return ""


def _apply(wishes: FileSpecs, outcome: PairResult, run: Run) -> None:
    for diff in outcome.files:
        put_file(diff.name, wishes[diff.name])
    if any(diff.name.startswith(UNIT_DIRECTORY) for diff in outcome.files):
        _systemctl(run, "daemon-reload")
    for act in outcome.acts:
        if act.verb == "restart":
            _systemctl(run, "enable", "--quiet", act.unit)
        _systemctl(run, act.verb, act.unit)


def _systemctl(run: Run, *words: str) -> None:
    code, _out, errors = run(("systemctl", *words), None)
    if code != 0:
        raise KernelError(f"systemctl {' '.join(words)}: {errors.strip()}{_journal(run, words[-1])}")


def _verify(wanted: Texts, run: Run) -> None:
    """Waits until the proxy says that it runs the new configuration, all services run, and this host can have the VIPs.

    Only then may the other host be changed: until then it is the only one.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        unfit, unit = _unfit(wanted, run)
        if not unfit:
            return
        if time.monotonic() > deadline:
            raise KernelError(f"{unfit} after {READY_SECONDS} s{_journal(run, unit)}")
        time.sleep(0.1)


def _unfit(wanted: Texts, run: Run) -> tuple[str, str]:
    """Why this host could not have the VIPs now, and whose journal may know more."""
    if _running_config() != _config_of(wanted[HAPROXY_FILE]):
        return "HAProxy does not run its new configuration", PROXY_UNIT
    for unit, state in _states(run).items():
        if unit in UNITS and state != "enabled active":
            return f"{unit} does not run", unit
    if clb_watch.FAULT in clb_watch.told(files.ROOT + RUN_DIRECTORY, VIPS).values():
        return f"{AGENT_UNIT} finds that HAProxy does not answer", AGENT_UNIT
    return "", ""


def _journal(run: Run, unit: str) -> str:
    """The last words of a unit, for an error."""
    _code, out, _errors = run(("journalctl", "-q", "-o", "cat", "-n", "8", "--no-pager", "-u", unit), None)
    said = "; ".join(line for line in out.splitlines() if line)
    return f"; its last words: {said}" if said else ""
