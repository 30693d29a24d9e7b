# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: nodes that leave for good: whether they are who was meant, and what their going would cost the others."""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    SITES,
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

MOST_AT_ONCE = 0.2
"""The part of the fleet that more than one node leaving together may be without a second thought."""

FORCE = "-e overlay_release_force=true"


class ReleaseRequest(t.NamedTuple):
    """Who is to go, and what is known of everybody.

    ``groups`` are those of the inventory; of a node in ``apiserver`` or ``clb`` others depend.
    """

    names: t.Sequence[str]
    groups: t.Mapping[str, t.Sequence[str]]
    force: bool = False


def release(
    settings: ClusterSettings,
    nodes: t.Sequence[InventoryNode],
    ledger_text: str | None,
    where: str,
    now: str,
    leaving: ReleaseRequest,
) -> tuple[Ledger, dict[str, str]]:
    """The ledger without these nodes, and their node CIDRs. Nobody is added on the way.

    Their node CIDRs are pending on every node that is left, until it is known to have dropped them.

    :param nodes: all of the inventory.
    :raises ValidationError: a name is unknown, or what hangs on a node was not thought of; nothing is released then.
    """
    ledger = planner.load_or_create(settings, ledger_text, where)
    names = list(dict.fromkeys(name.strip() for name in leaving.names))
    problems = [*_problems_of_names(names, nodes, ledger)] or [*_problems_of_the_rest(names, ledger)]
    if not problems and not leaving.force:
        reasons = [*_reasons_to_think(names, ledger, leaving.groups)]
        problems = [f"{reason}: if that is meant, say so with {FORCE}" for reason in reasons]
    if problems:
        raise ValidationError(*problems)
    staying = [node for node in nodes if node.name in ledger.nodes and node.name not in names]
    ledger = planner.assign(settings, staying, ledger_text, where, now)
    return ledger, ledger.release(names, sorted(ledger.nodes.keys() - set(names)), now)


def _problems_of_names(names: t.Sequence[str], nodes: t.Sequence[InventoryNode], ledger: Ledger) -> t.Iterator[str]:
    if not names:
        yield "nobody is named: say who is to go with -e overlay_release=idc7, or a list: -e overlay_release=idc7,idc8"
    if "" in names:  # of "-e 'overlay_release=idc7, idc8'" Ansible hands over no more than "idc7,"
        yield "a name of overlay_release is empty: a list is written without spaces, -e overlay_release=idc7,idc8"
    # Who was released and is still in the inventory, or still awaited, may be released again: nothing happens.
    known = {*ledger.nodes, *(node.name for node in nodes), *(wait.node for wait in ledger.pending.values())}
    for name in names:
        if name and name not in known:
            near = difflib.get_close_matches(name, sorted(known))
            hint = f"is {' or '.join(near)} meant?" if near else f"the ledger has {', '.join(sorted(ledger.nodes))}"
            yield f"there is no node {name} (overlay_release), neither in the ledger nor in the inventory: {hint}"


def _problems_of_the_rest(names: t.Sequence[str], ledger: Ledger) -> t.Iterator[str]:
    if ledger.nodes and not ledger.nodes.keys() - set(names):
        yield (
            f"these are all nodes of cluster {ledger.cluster} (overlay_release): "
            f"to take the whole overlay away, use tke.overlay.reset, and delete the ledger"
        )


def _reasons_to_think(
    names: t.Sequence[str], ledger: Ledger, groups: t.Mapping[str, t.Sequence[str]]
) -> t.Iterator[str]:
    """What would break for others, a sentence each."""
    going = {name for name in names if name in ledger.nodes}
    for name in sorted(going & set(groups.get("clb", ()))):
        yield f"node {name} is in group clb: other nodes reach the API server by way of it"
    servers = set(groups.get("apiserver", ()))
    if servers and servers <= going:
        yield f"{', '.join(sorted(servers))} is all there is in group apiserver: no API server would be left"
    for site in SITES:
        members = set(groups.get(site, ())) & ledger.nodes.keys()
        if members and members <= going:
            yield f"{', '.join(sorted(members))} is all there is in group {site}: that site would have no node left"
    if len(going) > max(1, MOST_AT_ONCE * len(ledger.nodes)):
        yield (
            f"{len(going)} of {len(ledger.nodes)} nodes are more than {MOST_AT_ONCE:.0%} of the fleet: "
            f"{', '.join(sorted(going))}"
        )
