# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: making one host what its document says.

:func:`converge` is the whole promise: validate, read, refuse what cannot be,
compare, apply, read back, look for the API endpoint, persist; else roll back.
Between reading back and persisting the controller has its say, where it wants to:
see :mod:`confirm`. Persisted last is also what the timer of :mod:`restore` keeps
the host at.
"""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    NodeDocument,
    Peer,
    gateway_address,
    parse_fleet,
    plan_id,
    vtep_address,
    vtep_mac,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files as host_files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    ApiEndpoint,
    Confirmation,
    arm,
    await_endpoint,
    confirm,
    connection_error,
    exclusive_change,
    recorded_endpoint,
    rolled_back_on_failure,
    stage,
    validate_timeout,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.snapshot import snapshot
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    FileSpecs,
    Texts,
    differing,
    put_file,
    read_files,
    read_sysctls,
    write_file,
    write_sysctl,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    LinkChange,
    LinkSpec,
    Row,
    apply_link,
    attributes_text,
    compare_link,
    find_link,
    read_links,
    refuse_conflicts,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    NO_ALLOWANCES,
    RulesSpec,
    RulesTable,
    TransitionAllowances,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    BLACKHOLE,
    RouteTable,
    blackhole_entry,
    refuse_foreign_routes,
    via_entry,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Delta,
    Desired,
    Diff,
    ReadableTable,
    Run,
    Table,
    apply,
    compare,
    listed_together,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE, conflist
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import (
    CUTOVER,
    FINALIZE,
    PREPARE,
    Transition,
    accept_any_mac,
    accept_own_mac_only,
    adopts_foreign_macs,
    alternate_link_of,
    relax_reverse_path_filter,
    transition_to,
    with_alternate_link,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import (
    drop_ins,
    reload_commands,
    reload_managers,
    wanted_sysctls,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import RULES_FILE, STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    SavedState,
    line_diff,
    state_files,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    HostFacts,
    apply_units,
    differing_units,
    read_host,
    unit_commands,
    unit_files,
)

INTERVAL = 30
"""Seconds between two looks of the timer, unless asked for otherwise."""


class Target(t.NamedTuple):
    """What one host must be. Tables come in the order of removal: routes go first and come last.

    ``drop_ins`` are the files that must be there before the link is, ``files``
    those that come after all else, the CNI configuration last: with it, a
    kubelet takes the network for ready.
    ``ear`` is the link that hears the other port during a change of it.
    """

    link: LinkSpec
    ear: LinkSpec | None
    tables: t.Sequence[tuple[Table, Desired]]
    rules: RulesTable
    sysctls: Texts
    drop_ins: FileSpecs
    files: Texts
    host: HostFacts
    saved: SavedState

    def all_tables(self) -> list[tuple[ReadableTable, Desired]]:
        """The rules, too."""
        return [*self.tables, (self.rules, self.rules.wanted)]


class NodeResult(t.NamedTuple):
    """What was changed, or would be; ``unfinished`` if the rest must wait until other hosts have begun, too."""

    link: LinkChange
    tables: dict[str, Delta]
    files: list[Diff]
    sysctls: list[Diff]
    units: list[Diff]
    systemd: bool
    unfinished: bool = False
    waits: float | None = None  # seconds until the host undoes it by itself; ``None``: nobody has to confirm it
    warnings: t.Sequence[str] = ()

    @property
    def kernel(self) -> bool:
        """Whether the kernel held anything else than it should: only that can cut a host off."""
        return bool(self.link or any(self.tables.values()) or self.sysctls)

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return bool(self.kernel or self.files or self.units)

    def diffs(self) -> t.Iterator[Diff]:
        """All differences, link first."""
        if self.link:
            yield Diff("link", attributes_text(self.link.before), attributes_text(self.link.after))
        for name, delta in self.tables.items():
            if delta:
                yield Diff(name, delta.before(), delta.after())
        for diff in self.sysctls:
            yield Diff(f"sysctl {diff.name}", f"{diff.before}\n", f"{diff.after}\n")
        yield from self.files
        for diff in self.units:
            yield Diff(f"unit {diff.name}", f"{diff.before}\n", f"{diff.after}\n")


def target_of(
    document: NodeDocument, host: HostFacts, interval: int = INTERVAL, also: TransitionAllowances = NO_ALLOWANCES
) -> Target:
    """What the host ``document["node"]`` must be.

    :param interval: seconds between two looks of the timer.
    :param also: what is to be heard besides, while other hosts go over to the plan.
    :raises ValidationError: the document is of another version, or knows no such node.
    """
    if not 1 <= interval <= 86_400:
        raise ValidationError(f"restore_interval {interval} does not lie between 1 and 86400 seconds")
    if document["schema"] != PLAN_SCHEMA:
        raise ValidationError(
            f"the plan has schema {document['schema']}, this release knows {PLAN_SCHEMA}: use one release"
        )
    own, peers = _own_and_peers(document)
    device = document["device"]
    link = LinkSpec(
        name=device,
        vni=document["vni"],
        port=document["port"],
        local=own.underlay,
        mac=vtep_mac(own.node_cidr),
        mtu=document["mtu"],
        addresses=[f"{vtep_address(own.node_cidr)}/32"],
    )
    tables = _tables_of(document, own, peers)
    rules = RulesTable(_rules_of(document, own, peers, also))
    sysctls = wanted_sysctls(device, len(peers), host, read_sysctls)
    summary = _summary(document, link, own.node_cidr, len(peers))
    cidrs, fleet = document["container_cidr"], document["fleet"]
    saved = SavedState(link, document["bridge"], cidrs, tables, rules.text, sysctls, summary, fleet)
    return Target(
        link=link,
        ear=alternate_link_of(link, also.port),
        tables=tables,
        rules=rules,
        sysctls=sysctls,
        drop_ins=drop_ins(device, document["bridge"], sysctls, host),
        files={
            **state_files(saved),
            **unit_files(interval, host),
            CNI_FILE: conflist(own.node_cidr, document["bridge"], document["mtu"]),
        },
        host=host,
        saved=saved,
    )


def _own_and_peers(document: NodeDocument) -> tuple[Peer, list[Peer]]:
    fleet = parse_fleet(document["fleet"])
    own = fleet.pop(document["node"], None)
    if own is None:
        raise ValidationError(
            f"node {document['node']} is not in the plan: is it in the inventory group that was planned?"
        )
    return own, list(fleet.values())


def _rules_of(document: NodeDocument, own: Peer, peers: t.Iterable[Peer], also: TransitionAllowances) -> RulesSpec:
    return RulesSpec(
        device=document["device"],
        bridge=document["bridge"],
        port=document["port"],
        mtu=document["mtu"],
        node_cidr=own.node_cidr,
        container_cidrs=document["container_cidr"],
        peers=[peer.underlay for peer in peers],
        also=also,
    )


def _tables_of(document: NodeDocument, own: Peer, peers: t.Iterable[Peer]) -> list[tuple[Table, Desired]]:
    """The tables in the order of removal, and what each should hold: a route, an FDB entry, a neighbour per peer."""
    device = document["device"]
    routes = dict([blackhole_entry(own.node_cidr)])
    fdb: Desired = {}
    neighbors: Desired = {}
    for peer in peers:
        address, mac = vtep_address(peer.node_cidr), vtep_mac(peer.node_cidr)
        for wanted, (key, spec) in (
            (routes, via_entry(peer.node_cidr, address, device)),
            (fdb, fdb_entry(mac, peer.underlay)),
            (neighbors, neighbor_entry(address, mac)),
        ):
            wanted[key] = spec
    return [
        (RouteTable(device, within=document["container_cidr"], bridge=document["bridge"]), routes),
        (FdbTable(device), fdb),
        (NeighborTable(device), neighbors),
        (BridgeTable(document["bridge"], document["container_cidr"], gateway_address(own.node_cidr)), {}),
    ]


def converge(
    document: NodeDocument,
    run: Run,
    check: bool,
    interval: int = INTERVAL,
    confirmation: Confirmation | None = None,
    begins: t.Callable[[], None] = lambda: None,
    phase: str = FINALIZE,
) -> NodeResult:
    """Makes this host what the document says; with ``check`` only finds out what that would change.

    :param interval: seconds between two looks of the timer.
    :param confirmation: who is to confirm a change of the kernel's tables. Then, and where there is a systemd to undo
        it, nothing is saved yet: :attr:`Outcome.waits` says for how long. Otherwise all is done in this one call.
    :param begins: called when there is something to confirm, right before the first change.
    :param phase: how far to go if other hosts must go along, see :mod:`transition`.
    :raises ValidationError: the document is wrong, or something that is not ours is in the way; nothing was changed.
    :raises KernelError: the kernel refused, or does not hold what it was given, or the API endpoint is gone. The host
        is as it was before, or the error says what is not.
    """
    given = confirmation or Confirmation(f"process {os.getpid()}", 0)
    validate_timeout(given.seconds)
    host = read_host(run)
    target = target_of(document, host, interval)
    if check:
        return _difference(target, run)
    with rolled_back_on_failure(given.token, run):
        with exclusive_change(run):
            ahead = Transition() if phase == FINALIZE else transition_to(document, *_own_and_peers(document))
            wide = target_of(document, host, interval, ahead.also) if ahead else None
            if wide is not None and phase == CUTOVER:
                target = wide
            outcome = _difference(target, run)
            if _begin_together(target, wide, outcome, phase, run):
                return outcome._replace(unfinished=True)
            if not outcome.kernel:
                _save(target, outcome, run)
                return outcome
            waiting = given.wanted and target.host.systemd
            endpoint, warnings = _endpoint_that_answers() if given.wanted else (None, [])
            outcome = outcome._replace(warnings=warnings)
            _stage(target, outcome, given, run)
            start = time.monotonic()
            if waiting:
                arm(given, run)
                begins()
            _put_drop_ins(target, outcome, run)
            _apply_kernel(target, outcome, run)
            _verify(target, run)
        if endpoint is not None:
            # The rest of the time is the controller's.
            await_endpoint(endpoint, given.seconds * 2 / 3 - (time.monotonic() - start))
        if waiting:
            return outcome._replace(waits=given.seconds - (time.monotonic() - start))
        confirm(given.token, run)
    return outcome


def _endpoint_that_answers() -> tuple[ApiEndpoint | None, list[str]]:
    """What does not answer before a change need not do so after it; but that is worth a word."""
    endpoint = recorded_endpoint()
    fault = None if endpoint is None else connection_error(endpoint)
    if fault is None:
        return endpoint, []
    return None, [f"the API endpoint {endpoint} did not answer before the change, so nobody asked it after it: {fault}"]


def _save(target: Target, outcome: NodeResult, run: Run) -> None:
    """The files alone: the kernel is what it should be, so there is nothing to confirm."""
    if outcome.changed:
        _write(target.drop_ins, outcome.files)
        reload_managers([diff.name for diff in outcome.files], target.host, run)
        _write({name: text for name, text in target.files.items() if name != CNI_FILE}, outcome.files)
        apply_units([diff.name for diff in outcome.files], target.host, run)
        _write({CNI_FILE: target.files[CNI_FILE]}, outcome.files)


def _stage(target: Target, outcome: NodeResult, confirmation: Confirmation, run: Run) -> None:
    names = [diff.name for diff in outcome.files]
    texts = {**target.drop_ins, **target.files}
    row = find_link(target.link.name, read_links(run))
    sysctls = {diff.name: diff.before for diff in outcome.sysctls if diff.before}
    stage(
        confirmation,
        new={name: text for name, text in texts.items() if name in names},
        last=[CNI_FILE],
        passing=[_passing(name) for name in target.drop_ins if name in names],
        units=[*unit_commands(names, target.host), *reload_commands(names, target.host)],
        before=snapshot(target.saved, row, outcome.tables, sysctls, run),
    )


def _passing(drop_in: str) -> str:
    """The place below ``/run`` where a drop-in counts until the next boot: each of those programs has one."""
    return drop_in.replace("/etc/", "/run/", 1)


def _put_drop_ins(target: Target, outcome: NodeResult, run: Run) -> None:
    """They have to be there before the device is, and not after a reboot that comes before the confirmation.

    One in ``/etc`` hides its namesake below ``/run``, so that must be replaced itself. What must go can go later.
    """
    differing_names = {diff.name for diff in outcome.files}
    texts = {name: text for name, text in target.drop_ins.items() if text is not None and name in differing_names}
    for name, text in texts.items():
        there = os.path.exists(host_files.ROOT + name)
        write_file(name if there else _passing(name), text, durable=False)
    reload_managers(texts, target.host, run)


def _begin_together(target: Target, wide: Target | None, outcome: NodeResult, phase: str, run: Run) -> bool:
    """Has this host hear the new beside the old; says whether it must wait for the others before it does the rest.

    :param wide: what hears both, where addresses or the port change. (For MAC addresses see :mod:`transition`.)
    """
    neighbors = outcome.tables[NeighborTable.name]
    other_macs = phase != FINALIZE and adopts_foreign_macs(target.link.name, outcome.link, neighbors)
    if not other_macs:
        accept_own_mac_only(run)
    elif phase == PREPARE:
        _hear_of_new_macs(target, outcome, run)
    else:
        _speak_to_new_macs(target, neighbors, run)
    if wide is not None and phase == PREPARE:
        _widen(wide, run)
    return phase == PREPARE and (other_macs or wide is not None)


def _widen(target: Target, run: Run) -> None:
    """Lets in what comes by the old plan and by the new one. All else, the saved state too, stays the old.

    Nothing of it could cut the host off, so nobody has to confirm it.
    """
    rules = compare(target.rules, target.rules.read(run), target.rules.wanted)
    if rules:
        target.rules.replace(run)
    write_file(RULES_FILE, target.rules.text)
    if target.ear is not None:
        ear = target.ear._replace(port=target.link.port)
        apply_link(with_alternate_link(LinkChange({}, {}, []), ear, read_links(run)), run)
        relax_reverse_path_filter(ear)


def _hear_of_new_macs(target: Target, outcome: NodeResult, run: Run) -> None:
    """Lets in frames to the former MACs of an adopted device and to the new ones, and knows where the new ones are."""
    accept_any_mac(target.link.name, run)
    for table, _wanted in target.tables:
        if isinstance(table, FdbTable):
            new = outcome.tables[table.name]
            apply([(table, Delta(new.added, {}, {}, {}))], run)


def _speak_to_new_macs(target: Target, neighbors: Delta, run: Run) -> None:
    """Before the FDB loses the former ones, which it does first."""
    for table, _wanted in target.tables:
        if isinstance(table, NeighborTable):
            apply([(table, Delta({}, neighbors.changed, {}, {}))], run)


def _difference(target: Target, run: Run) -> NodeResult:
    links = read_links(run)
    refuse_conflicts(target.link, links, run)
    return _compare(target, links, run)


def _write(texts: FileSpecs, differing_files: t.Sequence[Diff]) -> None:
    names = {diff.name for diff in differing_files}
    for name, text in texts.items():
        if name in names:
            put_file(name, text)


def _compare(target: Target, links: t.Sequence[Row], run: Run) -> NodeResult:
    deltas = {table.name: delta for table, delta in _deltas(target.all_tables(), target, links, run)}
    wanted_files = {**target.drop_ins, **target.files}
    return NodeResult(
        link=with_alternate_link(compare_link(target.link, links), target.ear, links),
        tables=deltas,
        files=_file_diffs(read_files(wanted_files), wanted_files),
        sysctls=_text_diffs(read_sysctls(target.sysctls), target.sysctls),
        units=_text_diffs(target.host.units, differing_units(target.host)),
        systemd=target.host.systemd,
    )


def _deltas(
    tables: t.Sequence[tuple[ReadableTable, Desired]],
    target: Target,
    links: t.Sequence[Row],
    run: Run,
    read_back: bool = False,
) -> list[tuple[ReadableTable, Delta]]:
    """What separates tables from the target. Without its device a table of entries on it is empty.

    The addresses of the Pod bridge are among ``links``.
    """
    there = find_link(target.link.name, links) is not None
    readable = [table for table, _wanted in tables if there or not table.of_device]
    listings = [each for table in readable for each in _listings(table, read_back)]
    ahead = listed_together(listings, run)
    found = {table.name: _read(table, links, ahead, read_back) for table in readable}
    if not read_back and RouteTable.name in found:
        refuse_foreign_routes(found[RouteTable.name])
    return [(table, compare(table, found.get(table.name, {}), wanted)) for table, wanted in tables]


def _listings(table: ReadableTable, read_back: bool) -> list[t.Sequence[str]]:
    return table.listings(others=not read_back) if isinstance(table, RouteTable) else table.listings()


def _read(table: ReadableTable, links: t.Sequence[Row], run: Run, read_back: bool) -> t.Mapping[str, ActualEntry]:
    if isinstance(table, RouteTable):
        return table.read(run, others=not read_back)
    return table.among(links) if isinstance(table, BridgeTable) else table.read(run)


def _apply_kernel(target: Target, outcome: NodeResult, run: Run) -> None:
    """The rules, the link, then the tables as the kernel left them.

    Read anew after a change of a link that was there, because a change can empty
    tables: a device made anew starts without any, down loses routes and neighbours,
    a new MAC the neighbours, a removed address both. A new device has no sysctls
    but the default ones.
    """
    rules = outcome.tables[target.rules.name]
    if rules:
        target.rules.replace(run, there=len(rules.added) < len(target.rules.wanted))
    apply_link(outcome.link._replace(lines=[*outcome.link.lines, *_lines_with_new_device(target, outcome)]), run)
    relax_reverse_path_filter(target.ear)
    found = read_sysctls(target.sysctls)
    for key, value in differing(found, target.sysctls).items():
        write_sysctl(key, value)
    deltas = _deltas_after_link(target, outcome, run)
    apply([(table, deltas.get(table, outcome.tables[table.name])) for table, _wanted in target.tables], run)


def _lines_with_new_device(target: Target, outcome: NodeResult) -> list[str]:
    """Neighbours and routes of a device that is made, or made anew, for the batch that makes it.

    Each program that is run in between is time without a network for Pods. Only the FDB is not for ``ip``,
    so for once the routes come before it: they drop what they lead to, as the rules would without them.
    """
    if not outcome.link.made:
        return []
    by_ip = [(table, wanted) for table, wanted in target.tables if isinstance(table, (NeighborTable, RouteTable))]
    return [table.put(key, spec) for table, wanted in reversed(by_ip) for key, spec in wanted.items()]


def _deltas_after_link(target: Target, outcome: NodeResult, run: Run) -> dict[ReadableTable, Delta]:
    """What the tables lack now that the link was changed. Of a device that was made that is known without a reading."""
    if not outcome.link.made:
        return dict(_deltas(target.tables, target, read_links(run), run)) if outcome.link.before else {}
    deltas: dict[ReadableTable, Delta] = {}
    for table, wanted in target.tables:
        if isinstance(table, FdbTable):
            deltas[table] = Delta(wanted, {}, {}, {})
        elif isinstance(table, (NeighborTable, RouteTable)):
            removed = outcome.tables[table.name].removed
            left = {key: spec for key, spec in removed.items() if spec == BLACKHOLE}  # has no device to go with
            deltas[table] = Delta({}, {}, left, {})
    return deltas


def _verify(target: Target, run: Run) -> None:
    """Reads back: what does not stand in the kernel now was changed by somebody else, or never taken.

    The rules were read back when they were loaded.
    """
    links = read_links(run)
    wrong = with_alternate_link(compare_link(target.link, links), target.ear, links)
    faults = [
        f"link {target.link.name}: {key} is {wrong.before.get(key)}, not {wrong.after[key]}" for key in wrong.after
    ]
    for table, delta in _deltas(target.tables, target, links, run, read_back=True):
        lines = delta.lines()
        faults += [f"{table.name}: missing {line}" for line in lines["added"]]
        faults += [f"{table.name}: wrong {line}" for line in lines["changed"]]
        faults += [f"{table.name}: still there {line}" for line in lines["removed"]]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise KernelError(
            f"after the change the kernel does not hold what it was given; does another program manage "
            f"{target.link.name}? {'; '.join(faults[:5])}{more}"
        )


def _text_diffs(found: Texts, wanted: FileSpecs) -> list[Diff]:
    return [Diff(name, found.get(name, ""), text or "") for name, text in differing(found, wanted).items()]


def _file_diffs(found: Texts, wanted: FileSpecs) -> list[Diff]:
    """Of the saved batches only the lines that differ: they are as long as the fleet."""
    return [
        Diff(diff.name, *line_diff(diff.before, diff.after)) if diff.name.startswith(f"{STATE}/") else diff
        for diff in _text_diffs(found, wanted)
    ]


def _summary(document: NodeDocument, link: LinkSpec, node_cidr: str, peers: int) -> dict[str, object]:
    """What an operator wants to know first, in this order."""
    return {
        "cluster": document["cluster"],
        "node": document["node"],
        "plan": plan_id(document),
        "node_cidr": node_cidr,
        "VTEP": f"{vtep_address(node_cidr)} {link.mac} on {link.name}",
        "underlay": f"{link.local}, UDP port {link.port}, VNI {link.vni}",
        "MTU": link.mtu,
        "Pod bridge": document["bridge"],
        "container CIDR": " ".join(document["container_cidr"]),
        "Service range": document["service_cidr"],
        "peers": peers,
        "put back by": f"sh {STATE}/restore (tke-overlay.service at boot, tke-overlay.timer now and then)",
    }
