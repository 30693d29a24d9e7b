# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Release nodes: check the names, and what other nodes depend on."""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    KINDS,
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

MOST_AT_ONCE = 0.2
"""The largest part of the fleet that one run releases without ``force``, when it is more than one node."""

FORCE = "-e overlay_release_force=true"


class ReleaseRequest(t.NamedTuple):
    """The nodes to release, and when (``now``: UTC, ISO 8601).

    ``groups`` are the groups of the inventory; other nodes depend on the hosts of
    ``apiserver`` and ``clb``. ``excluded`` are the nodes that ``--limit`` excludes from the run.
    """

    names: t.Sequence[str]
    groups: t.Mapping[str, t.Sequence[str]]
    now: str
    force: bool = False
    excluded: t.Sequence[str] = ()


def release(
    settings: ClusterSettings,
    nodes: t.Sequence[InventoryNode],
    ledger_text: str | None,
    where: str,
    request: ReleaseRequest,
) -> tuple[Ledger, dict[str, str]]:
    """Return the ledger without these nodes, and their node CIDRs. No node is added.

    The released node CIDRs are pending on every remaining node until it acknowledges that it has dropped them.

    :param nodes: all nodes of the inventory.
    :raises ValidationError: there is no ledger, a name is unknown, or other nodes depend on a node and ``force`` is not
        set.
    """
    if ledger_text is None:
        raise ValidationError(
            f"there is no ledger at {where}, so no node can be released: check overlay_ledger and the inventory (-i); "
            f"before the first run of tke.overlay.site there is nothing to release"
        )
    # A node in a reserved range can be released, too.
    ledger = planner.load_or_create(settings._replace(reserved=()), ledger_text, where)
    names = list(dict.fromkeys(name.strip() for name in request.names))
    problems = [*_problems_of_names(names, nodes, ledger)] or [*_problems_of_empty_cluster(names, ledger)]
    if not problems and not request.force:
        reasons = [*_excluded(names, ledger, request.excluded), *_dependencies(names, ledger, nodes, request.groups)]
        problems = [f"{reason}: to release anyway, add {FORCE}" for reason in reasons]
    if problems:
        raise ValidationError(*problems)
    # First the release, because a node that leaves can be what contradicts the inventory.
    released = ledger.release(names, sorted(ledger.nodes.keys() - set(names)), request.now)
    staying = [node for node in nodes if node.name in ledger.nodes]
    return planner.assign(settings, staying, ledger.text(), where, request.now), released


def _problems_of_names(names: t.Sequence[str], nodes: t.Sequence[InventoryNode], ledger: Ledger) -> t.Iterator[str]:
    if not names:
        yield (
            "overlay_release is empty: name the nodes to release with -e overlay_release=idc7, "
            "or a list: -e overlay_release=idc7,idc8"
        )
    if "" in names:  # Ansible passes only "idc7," of "-e 'overlay_release=idc7, idc8'"
        yield "overlay_release has an empty name: write a list without spaces, -e overlay_release=idc7,idc8"
    # Releasing a node again while it is in the inventory or its node CIDR is pending does nothing.
    known = {*ledger.nodes, *(node.name for node in nodes), *(wait.node for wait in ledger.pending.values())}
    for name in names:
        if name and name not in known:
            near = difflib.get_close_matches(name, sorted(known))
            hint = f"did you mean {' or '.join(near)}?" if near else f"the ledger has {', '.join(sorted(ledger.nodes))}"
            yield f"there is no node {name} (overlay_release), neither in the ledger nor in the inventory: {hint}"


def _problems_of_empty_cluster(names: t.Sequence[str], ledger: Ledger) -> t.Iterator[str]:
    if ledger.nodes and not ledger.nodes.keys() - set(names):
        yield (
            f"these are all nodes of cluster {ledger.cluster} (overlay_release): "
            f"to remove the overlay, run tke.overlay.reset and delete the ledger"
        )


def _excluded(names: t.Sequence[str], ledger: Ledger, excluded: t.Container[str]) -> t.Iterator[str]:
    """Yield the nodes that would keep the overlay, although they may be alive."""
    for name in names:
        if name in ledger.nodes and name in excluded:
            yield (
                f"--limit excludes node {name} (overlay_release), so the overlay would stay on it while others get its "
                f"node CIDR {ledger.nodes[name].node_cidr}: run without --limit, which skips a dead node by itself"
            )


def _dependencies(
    names: t.Sequence[str],
    ledger: Ledger,
    nodes: t.Sequence[InventoryNode],
    groups: t.Mapping[str, t.Sequence[str]],
) -> t.Iterator[str]:
    """Yield what other nodes would lose, one sentence for each dependency."""
    leaving = {name for name in names if name in ledger.nodes}
    for name in sorted(leaving & set(groups.get("clb", ()))):
        yield f"node {name} is in group clb: other nodes reach the API server through it"
    servers = set(groups.get("apiserver", ()))
    if servers and servers <= leaving:
        yield f"{', '.join(sorted(servers))} is every host in group apiserver: no API server would remain"
    yield from _last_of_sites(names, ledger, nodes)
    if len(leaving) > max(1, MOST_AT_ONCE * len(ledger.nodes)):
        yield (
            f"{len(leaving)} of {len(ledger.nodes)} nodes are more than {MOST_AT_ONCE:.0%} of the fleet: "
            f"{', '.join(sorted(leaving))}"
        )


def _last_of_sites(names: t.Sequence[str], ledger: Ledger, nodes: t.Sequence[InventoryNode]) -> t.Iterator[str]:
    """Yield the sites that would have no node."""
    members: dict[str, set[str]] = {site: set() for site in KINDS}
    for node in nodes:
        if node.name in ledger.nodes and node.place():
            members.setdefault(node.place(), set()).add(node.name)
    for site, held in members.items():
        if held and held <= set(names):
            where = f"host in group {site}" if site in KINDS else f"node of site {site} (overlay_site)"
            yield f"{', '.join(sorted(held))} is every {where}: that site would have no node"
