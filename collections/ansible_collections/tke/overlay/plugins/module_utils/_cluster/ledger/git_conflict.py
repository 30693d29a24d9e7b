# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cure for a ledger that git could not merge: which of the two sides to take, and what it lacks."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import typing as t

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
    """Return how to resolve the conflict.

    Git merges by itself the lines on which both versions agree, so a side of the text may be none that anybody wrote:
    its checksum shows that. What git has recorded of the conflict are the versions themselves.
    """
    recorded = _recorded(where)
    ours, theirs = ledgers = [_ledger(side, where) for side in recorded or sides(text)]
    first, second = _OPTIONS
    if ledgers.count(None) > (1 if recorded else 0):
        return (
            f"never merge lines. Take one complete side ({_take(first, where)}, or {second}), compare it with the "
            f"other one, and before the next run pin in the inventory (overlay_node_cidr) the nodes that only the "
            f"other one has"
        )
    if ours is None or theirs is None:
        return f"only one side is a complete ledger: {_take(second if ours is None else first, where)}"
    if not _missing(ours, theirs):
        return f"the first side has all that the second has: {_take(first, where)}"
    if not _missing(theirs, ours):
        return f"the second side has all that the first has: {_take(second, where)}"
    if theirs.wireguard_generation > ours.wireguard_generation:  # the hosts have these keys, and no others
        first, ours, theirs = second, theirs, ours
    return (
        f"never merge lines. Take one complete side ({_take(first, where)}), and before the next run do again what "
        f"only the other side has: {'; '.join(_missing(ours, theirs))}{_clashes(ours, theirs)}"
    )


def _recorded(where: str) -> tuple[str, str] | None:
    """Return the two versions that git has recorded; ``None`` without git, or when the file was added since."""
    directory, name = os.path.split(os.path.realpath(where))
    texts = []
    for stage in (2, 3):
        command = ["git", "cat-file", "blob", f":{stage}:./{name}"]
        try:
            done = subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=10)
            texts.append(done.stdout.decode())
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
    return texts[0], texts[1]


def _ledger(text: str, where: str) -> Ledger | None:
    try:
        return parse(text, where, None)
    except ValidationError:
        return None


def _take(option: str, where: str) -> str:
    return f"git checkout {option} -- {shlex.quote(where)}"


def _missing(ledger: Ledger, other: Ledger) -> list[str]:
    """Return what the ledger lacks of the other one: assignments, releases, VIPs and WireGuard keys."""
    released = [name for node_cidr, name in sorted(other.releases().items()) if _holds(ledger, name, node_cidr)]
    vips = {name: address for name, address in sorted(other.vips.items()) if ledger.vips.get(name) != address}
    return [
        *(f"set overlay_node_cidr of {name} to {node_cidr}" for name, node_cidr in _assigned(ledger, other).items()),
        *([f"release {', '.join(released)}"] if released else []),
        *(f"set overlay_clb_vips.{name} to {address}" for name, address in vips.items()),
        *_missing_keys(ledger, other),
        *_missing_pending(ledger, other),
    ]


def _missing_keys(ledger: Ledger, other: Ledger) -> t.Iterator[str]:
    """Yield what to do for WireGuard keys. A key that the ledger does not have is recorded again by the next run."""
    if other.wireguard_generation > ledger.wireguard_generation:
        yield (
            f"the change of all WireGuard keys to generation {other.wireguard_generation}, which only "
            f"tke.overlay.rotate_keys can do"
        )
        return
    both = [(name, ledger.nodes[name], held) for name, held in sorted(other.nodes.items()) if name in ledger.nodes]
    if ledger.wireguard_generation == other.wireguard_generation:
        if any(theirs.wireguard_next_key and not ours.wireguard_next_key for _name, ours, theirs in both):
            yield "run tke.overlay.rotate_keys, which has begun"
        changed = [
            name
            for name, ours, theirs in both
            if ours.wireguard_key and theirs.wireguard_key and ours.wireguard_key != theirs.wireguard_key
        ]
        if changed:
            yield f"reset {', '.join(changed)} (tke.overlay.reset), of which it has another WireGuard key"


def _missing_pending(ledger: Ledger, other: Ledger) -> t.Iterator[str]:
    """Yield what to do for nodes that only the other ledger has added, and released while hosts were unreachable."""
    known = ledger.releases()
    gone = [
        waiting.node
        for node_cidr, waiting in sorted(other.pending.items())
        if known.get(node_cidr) != waiting.node and not _holds(ledger, waiting.node, node_cidr)
    ]
    if gone:
        peers = ", ".join(gone)
        yield f"add no node until tke.overlay.site has reached all hosts, which may still have {peers} as a peer"


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
