# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cure for a ledger that git could not merge: which of the two sides to take, and what it lacks."""

from __future__ import annotations

import re
import shlex

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.damage import normalized
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, parse
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

_OPTIONS = ("--ours", "--theirs")
"""How ``git checkout`` calls the part before and after the line ``=======``."""


def sides(text: str) -> tuple[str, str]:
    """Return the two complete texts that git could not merge, the first and the second one of each conflict."""
    texts: tuple[list[str], list[str]] = ([], [])
    into: tuple[int, ...] = (0, 1)
    for line in normalized(text).splitlines(keepends=True):
        if re.match(r"<{7}( |$)", line):
            into = (0,)
        elif re.match(r"\|{7}( |$)", line):
            into = ()  # the common ancestor
        elif re.match(r"={7}$", line):
            into = (1,)
        elif re.match(r">{7}( |$)", line):
            into = (0, 1)
        else:
            for side in into:
                texts[side].append(line)
    return "".join(texts[0]), "".join(texts[1])


def cure(text: str, where: str) -> str:
    """Return how to resolve the conflict; empty if neither side is a complete ledger."""
    ledgers = [_ledger(side, where) for side in sides(text)]
    complete = [(option, ledger) for option, ledger in zip(_OPTIONS, ledgers, strict=True) if ledger is not None]
    if not complete:
        return ""
    if len(complete) == 1:
        return f"only one side is a complete ledger: {_take(complete[0][0], where)}"
    (first, ours), (second, theirs) = complete
    if not _lacks(ours, theirs):
        return f"the first side has all that the second has: {_take(first, where)}"
    if not _lacks(theirs, ours):
        return f"the second side has all that the first has: {_take(second, where)}"
    missing = "; ".join(f"{name}: overlay_node_cidr: {node_cidr}" for name, node_cidr in _lacks(ours, theirs).items())
    return (
        f"never merge lines. Take one complete side ({_take(first, where)}), and before the next run pin in the inventory "
        f"what only the other side has: {missing}{_clashes(ours, theirs)}"
    )


def _ledger(text: str, where: str) -> Ledger | None:
    try:
        return parse(text, where, None)
    except ValidationError:
        return None


def _take(option: str, where: str) -> str:
    return f"git checkout {option} -- {shlex.quote(where)}"


def _lacks(ledger: Ledger, other: Ledger) -> dict[str, str]:
    """Return the node CIDRs of ``other`` that the ledger lacks and has not released."""
    released = ledger.releases()
    return {
        name: held.node_cidr
        for name, held in sorted(other.nodes.items())
        if (name not in ledger.nodes or ledger.nodes[name].node_cidr != held.node_cidr)
        and released.get(held.node_cidr) != name
    }


def _clashes(ledger: Ledger, other: Ledger) -> str:
    """Return which node CIDRs both sides have allocated, to different nodes."""
    holders = {held.node_cidr: name for name, held in ledger.nodes.items()}
    both = [
        f"{node_cidr} of {holders[node_cidr]} and {name}"
        for name, node_cidr in _lacks(ledger, other).items()
        if holders.get(node_cidr, name) != name
    ]
    if not both:
        return ""
    return (
        f". Both sides have allocated {', '.join(both)}: the second node of each must be reset (tke.overlay.reset) and "
        f"gets another node CIDR without a pin"
    )
