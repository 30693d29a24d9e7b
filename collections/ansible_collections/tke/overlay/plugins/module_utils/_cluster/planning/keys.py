# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public WireGuard keys in the ledger: recorded when a host is first met, changed only by a rotation.

A rotation has two steps, each a change of the ledger. ``prepare`` records the next keys
beside the present ones; hosts that have applied that plan accept both. ``cutover``,
after all hosts have, makes the next keys the present ones, of the next generation.
The next keys get the port that ``overlay_wireguard_port`` is then.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NONE, WIREGUARD_KEY
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.links import (
    record_next_port,
    wireguard_nodes,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

PREPARE = "prepare"
CUTOVER = "cutover"
STEPS = (PREPARE, CUTOVER)
"""The steps of a rotation."""

ROTATE = "tke.overlay.rotate_keys"
RESET = "tke.overlay.reset"

MOST_NAMES = 8


def record_found(settings: ClusterSettings, ledger: Ledger) -> list[str]:
    """Enter the keys that hosts have into the ledger, where it has none, and return the conflicts.

    :param ledger: with the sites of all nodes.
    """
    conflicts = []
    for name in wireguard_nodes(settings, ledger):
        found, held = settings.wireguard_keys.get(name), ledger.nodes[name]
        problem = _problem_of_key(name, held.wireguard_key, found)
        if problem:
            conflicts.append(problem)
        elif found not in (None, NONE):
            ledger.nodes[name] = held._replace(wireguard_key=found)
    return [*conflicts, *_problems_of_copies(ledger)]


def _problem_of_key(name: str, recorded: str | None, found: str | None) -> str:
    if found not in (None, NONE) and not WIREGUARD_KEY.fullmatch(found or ""):
        return f"node {name} returned {shown(found)}, which is not a public key of WireGuard: check its wg program"
    if found is None or recorded in (None, found):
        return ""
    state = "has no WireGuard key" if found == NONE else f"has the WireGuard key {found}"
    return (
        f"node {name} {state}, and the ledger has {recorded}, which its peers accept: find out who changed it. If the "
        f"host was installed again or has lost its key, run {RESET} -e overlay_reset={name}, and then the same "
        f"playbook again: the host gets a new key, and keeps its node CIDR"
    )


def _problems_of_copies(ledger: Ledger) -> t.Iterator[str]:
    holders: dict[str, list[str]] = {}
    for name, held in sorted(ledger.nodes.items()):
        for key in filter(None, (held.wireguard_key, held.wireguard_next_key)):
            holders.setdefault(key, []).append(name)
    for key, names in holders.items():
        if len(names) > 1:
            yield (
                f"nodes {some_of(names, MOST_NAMES)} have the same WireGuard key {key}, so that one is a copy of "
                f"another: delete /etc/tke-overlay/wireguard-*.key on the copies, and run the playbook again"
            )


def rotate(step: str, settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger: Ledger) -> None:
    """Do one step of a rotation in the ledger.

    :param step: one of :data:`STEPS`. For ``prepare``, the keys of the settings are those of the next generation.
    :raises ValidationError: one problem for each node that cannot take part; then nothing was changed.
    """
    names = wireguard_nodes(settings, ledger)
    if not names:
        raise ValidationError(NO_WIREGUARD)
    problems = [
        *_problems_of_absent(names, [node.name for node in nodes]),
        *_problems_of_step(step, names, settings, ledger),
    ]
    if problems:
        raise ValidationError(*problems)
    for name in names:
        held = ledger.nodes[name]
        if step == PREPARE:
            ledger.nodes[name] = held._replace(wireguard_next_key=settings.wireguard_keys[name])
        else:
            ledger.nodes[name] = held._replace(wireguard_key=held.wireguard_next_key, wireguard_next_key=None)
    if step == CUTOVER:
        ledger.wireguard_generation += 1
        ledger.wireguard_port = ledger.wireguard_next_port or ledger.wireguard_port
    record_next_port(settings, ledger)
    copies = list(_problems_of_copies(ledger))
    if copies:
        raise ValidationError(*copies)


def rotation_problems(
    names: t.Sequence[str], plan: t.Mapping[str, t.Any], nodes: t.Collection[str], playing: t.Collection[str]
) -> list[str]:
    """Return why a rotation cannot begin, before anything is changed.

    :param names: the nodes with WireGuard.
    :param plan: the result of the module plan.
    :param nodes: the nodes of the inventory.
    :param playing: the hosts of the run.
    """
    if not names:
        return [NO_WIREGUARD]
    excluded = [name for name in names if name in nodes and name not in playing]
    recorded = plan["wireguard"]["recorded"].split()
    problems = [
        *_problems_of_absent(names, nodes),
        *_problem_of_unmet([each for each in names if each not in recorded]),
    ]
    if excluded:
        problems.append(
            f"{some_of(excluded, MOST_NAMES)} is not in this run (--limit, or an error above), and the keys of all "
            f"nodes with WireGuard change together"
        )
    return problems


NO_WIREGUARD = "no link has the transport wireguard (overlay_links), so there are no keys to change"


def _problems_of_absent(names: t.Sequence[str], nodes: t.Collection[str]) -> t.Iterator[str]:
    absent = [name for name in names if name not in nodes]
    if absent:
        yield (
            f"{some_of(absent, MOST_NAMES)} is in the ledger but not in the inventory, and the keys of all nodes with "
            f"WireGuard change together: add it to the inventory, or release it"
        )


def _problem_of_unmet(names: t.Sequence[str]) -> t.Iterator[str]:
    if names:
        yield (
            f"the ledger has no WireGuard key of {some_of(names, MOST_NAMES)}: run tke.overlay.site first, which "
            f"records the keys of new hosts"
        )


def _problems_of_step(step: str, names: t.Sequence[str], settings: ClusterSettings, ledger: Ledger) -> t.Iterator[str]:
    recorded = {name: ledger.nodes[name] for name in names}
    yield from _problem_of_unmet([name for name, held in recorded.items() if not held.wireguard_key])
    if step == PREPARE:
        found = settings.wireguard_keys
        missing = [name for name in names if not WIREGUARD_KEY.fullmatch(str(found.get(name)))]
        changed = [name for name, held in recorded.items() if held.wireguard_next_key not in (None, found.get(name))]
    else:
        missing, changed = [name for name, held in recorded.items() if not held.wireguard_next_key], []
    if missing:
        yield f"there is no next WireGuard key of {some_of(missing, MOST_NAMES)}: run {ROTATE} when all can be reached"
    if changed:
        yield (
            f"{some_of(changed, MOST_NAMES)} has another next WireGuard key than the ledger: the host was installed "
            f"again while keys changed; release it and add it again"
        )
