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
    """Return how to resolve the conflict."""
    ledgers = [_ledger(side, where) for side in sides(text)]
    complete = [(option, ledger) for option, ledger in zip(_OPTIONS, ledgers) if ledger is not None]
    if not complete:  # git has merged a part of the lines
        return (
            f"never merge lines. Take one complete side ({_take(_OPTIONS[0], where)}, or {_OPTIONS[1]}), compare it "
            f"with the other one, and before the next run pin in the inventory (overlay_node_cidr) the nodes that only "
            f"the other one has"
        )
    if len(complete) == 1:
        return f"only one side is a complete ledger: {_take(complete[0][0], where)}"
    (first, ours), (second, theirs) = complete
    if not _missing(ours, theirs):
        return f"the first side has all that the second has: {_take(first, where)}"
    if not _missing(theirs, ours):
        return f"the second side has all that the first has: {_take(second, where)}"
    return (
        f"never merge lines. Take one complete side ({_take(first, where)}), and before the next run do again what "
        f"only the other side has: {'; '.join(_missing(ours, theirs))}{_clashes(ours, theirs)}"
    )


def _ledger(text: str, where: str) -> Ledger | None:
    try:
        return parse(text, where, None)
    except ValidationError:
        return None


def _take(option: str, where: str) -> str:
    return f"git checkout {option} -- {shlex.quote(where)}"


def _missing(ledger: Ledger, other: Ledger) -> list[str]:
    """Return what the ledger lacks of the other one: assignments, releases and VIPs."""
    released = [name for node_cidr, name in sorted(other.releases().items()) if _holds(ledger, name, node_cidr)]
    vips = {name: address for name, address in sorted(other.vips.items()) if ledger.vips.get(name) != address}
    return [
        *(f"set overlay_node_cidr of {name} to {node_cidr}" for name, node_cidr in _assigned(ledger, other).items()),
        *([f"release {', '.join(released)}"] if released else []),
        *(f"set overlay_clb_vips.{name} to {address}" for name, address in vips.items()),
    ]


def _assigned(ledger: Ledger, other: Ledger) -> dict[str, str]:
    """Return the node CIDRs of the other ledger that this one neither has nor has released."""
    released = ledger.releases()
    return {
        name: held.node_cidr
        for name, held in sorted(other.nodes.items())
        if not _holds(ledger, name, held.node_cidr) and released.get(held.node_cidr) != name
    }


def _holds(ledger: Ledger, name: str, node_cidr: str) -> bool:
    return name in ledger.nodes and ledger.nodes[name].node_cidr == node_cidr


def _clashes(ledger: Ledger, other: Ledger) -> str:
    """Return which node CIDRs both sides have allocated, to different nodes."""
    holders = {held.node_cidr: name for name, held in ledger.nodes.items()}
    both = [
        f"{node_cidr} to {holders[node_cidr]} and {name}"
        for name, node_cidr in _assigned(ledger, other).items()
        if node_cidr in holders
    ]
    if not both:
        return ""
    return (
        f". Both sides have allocated {', '.join(both)}: instead of a pin, reset the second node of each "
        f"(tke.overlay.reset), which then gets another node CIDR"
    )
