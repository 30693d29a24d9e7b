# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: making one host what its document says.

:func:`converge` is the whole promise: validate, read, refuse what cannot be,
compare, apply, read back, persist.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    NodeDocument,
    Refusal,
    parse_fleet,
    vtep_address,
    vtep_mac,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.cni import conflist
from ansible_collections.tke.overlay.plugins.module_utils._host.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    Texts,
    differing,
    read_files,
    read_sysctls,
    write_file,
    write_sysctl,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.link import (
    LinkChange,
    LinkSpec,
    Row,
    apply_link,
    compare_link,
    find_link,
    read_links,
    refuse_conflicts,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.route import RouteTable, blackhole_entry, via_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.tables import (
    Delta,
    KernelError,
    Present,
    Run,
    Table,
    Wanted,
    apply,
    compare,
)

CNI_FILE = "/etc/cni/net.d/10-tke-overlay.conflist"
SYSCTL_FILE = "/etc/sysctl.d/99-tke-overlay.conf"
LINK_FILE = "/etc/systemd/network/10-tke-overlay.link"

SYSCTLS = {"net.ipv4.ip_forward": "1"}

_OURS = "# Written by tke.overlay; changes are lost with its next run.\n"


class Target(t.NamedTuple):
    """What one host must be. Tables come in the order of removal: routes go first and come last."""

    link: LinkSpec
    tables: t.Sequence[tuple[Table, Wanted]]
    files: Texts
    sysctls: Texts


class Diff(t.NamedTuple):
    """One object before and after, as text."""

    name: str
    before: str
    after: str


class Outcome(t.NamedTuple):
    """What was changed, or would be."""

    link: LinkChange
    tables: dict[str, Delta]
    files: list[Diff]
    sysctls: list[Diff]

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return bool(self.link or any(self.tables.values()) or self.files or self.sysctls)

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


def target_of(document: NodeDocument) -> Target:
    """What the host ``document["node"]`` must be.

    :raises Refusal: the document is of another version, or knows no such node.
    """
    if document["schema"] != PLAN_SCHEMA:
        raise Refusal(f"the plan has schema {document['schema']}, this release knows {PLAN_SCHEMA}: use one release")
    fleet = parse_fleet(document["fleet"])
    own = fleet.pop(document["node"], None)
    if own is None:
        raise Refusal(f"node {document['node']} is not in the plan: is it in the inventory group that was planned?")
    device = document["device"]
    routes = dict([blackhole_entry(own.segment)])
    fdb: Wanted = {}
    neighbors: Wanted = {}
    for peer in fleet.values():
        address, mac = vtep_address(peer.segment), vtep_mac(peer.segment)
        for wanted, (key, spec) in (
            (routes, via_entry(peer.segment, address, device)),
            (fdb, fdb_entry(mac, peer.underlay)),
            (neighbors, neighbor_entry(address, mac)),
        ):
            wanted[key] = spec
    link = LinkSpec(
        name=device,
        vni=document["vni"],
        port=document["port"],
        local=own.underlay,
        mac=vtep_mac(own.segment),
        mtu=document["mtu"],
        addresses=[f"{vtep_address(own.segment)}/32"],
    )
    tables: list[tuple[Table, Wanted]] = [
        (RouteTable(device), routes),
        (FdbTable(device), fdb),
        (NeighborTable(device), neighbors),
    ]
    return Target(link, tables, _files(document, own.segment), SYSCTLS)


def converge(document: NodeDocument, run: Run, check: bool) -> Outcome:
    """Makes this host what the document says; with ``check`` only finds out what that would change.

    :raises Refusal: the document is wrong, or something that is not ours is in the way; nothing was changed.
    :raises KernelError: the kernel refused, or does not hold what it was given.
    """
    target = target_of(document)
    links = read_links(run)
    refuse_conflicts(target.link, links, run)
    outcome = _compare(target, links, run)
    if outcome.changed and not check:
        for diff in outcome.sysctls:
            write_sysctl(diff.name, target.sysctls[diff.name])
        _apply_kernel(target, outcome, run)
        _verify(target, run)
        for diff in outcome.files:
            write_file(diff.name, diff.after)
    return outcome


def _compare(target: Target, links: t.Sequence[Row], run: Run) -> Outcome:
    deltas = {table.name: delta for table, delta in _deltas(target, links, run)}
    files, sysctls = read_files(target.files), read_sysctls(target.sysctls)
    return Outcome(
        link=compare_link(target.link, links),
        tables=deltas,
        files=_text_diffs(files, target.files),
        sysctls=_text_diffs(sysctls, target.sysctls),
    )


def _deltas(target: Target, links: t.Sequence[Row], run: Run) -> list[tuple[Table, Delta]]:
    """What separates each table from the target. Without its device a table of entries on it is empty."""
    there = find_link(target.link.name, links) is not None
    nothing: dict[str, Present] = {}
    return [
        (table, compare(table, table.read(run) if there or not table.of_device else nothing, wanted))
        for table, wanted in target.tables
    ]


def _apply_kernel(target: Target, outcome: Outcome, run: Run) -> None:
    """The link, then the tables as the kernel left them.

    Read anew after a change of the link, because a change can empty tables: a new
    device starts without any, down loses routes and neighbours, a new MAC the
    neighbours, a removed address both.
    """
    apply_link(outcome.link, run)
    if outcome.link:
        apply(_deltas(target, read_links(run), run), run)
    else:
        apply([(table, outcome.tables[table.name]) for table, _wanted in target.tables], run)


def _verify(target: Target, run: Run) -> None:
    """Reads back: what does not stand in the kernel now was changed by somebody else, or never taken."""
    links = read_links(run)
    wrong = compare_link(target.link, links)
    faults = [
        f"link {target.link.name}: {key} is {wrong.before.get(key)}, not {wrong.after[key]}" for key in wrong.after
    ]
    for table, delta in _deltas(target, links, run):
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


def _text_diffs(found: Texts, wanted: Texts) -> list[Diff]:
    return [Diff(name, found.get(name, ""), text) for name, text in differing(found, wanted).items()]


def attributes_text(attributes: t.Mapping[str, str]) -> str:
    """A line for each attribute, for a diff."""
    return "".join(f"{key} {attributes[key]}\n" for key in sorted(attributes))


def _files(document: NodeDocument, segment: str) -> Texts:
    """The CNI file comes last: a kubelet that sees it takes the network for ready."""
    sysctls = "".join(f"{key} = {value}\n" for key, value in SYSCTLS.items())
    return {
        SYSCTL_FILE: f"{_OURS}{sysctls}",
        LINK_FILE: (
            f"{_OURS}# systemd 242 and later would give the device a MAC of its own (flannel #1155).\n"
            f"[Match]\nOriginalName={document['device']}\n\n[Link]\nMACAddressPolicy=none\n"
        ),
        CNI_FILE: conflist(segment, document["bridge"], document["mtu"]),
    }
