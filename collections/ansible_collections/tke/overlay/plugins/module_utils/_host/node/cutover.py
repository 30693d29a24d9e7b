# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: how a host goes over to another underlay address or port without being deaf to those who have not yet.

No two hosts change at the same instant. A host that was moved sends from its new
address, and who has not heard of it drops that as *not a peer*; a host with the
new port does not hear the old one. So a change that concerns both ends of the
tunnel goes in three steps, each on all hosts before the next:

======  =============================================================================
prepare let in the new beside the old: the rules take both addresses of each peer and
        both ports, and a second link, the *ear*, hears the new port; it only receives. Nothing is sent
        otherwise than before, and whoever is not concerned converges at once
cutover send by the new plan; the ear now hears the old port
finalize let in the new alone, as any later run would
======  =============================================================================

The same three steps take over a device that somebody else made with MAC addresses of his own
(:func:`adopts_foreign_macs`): a host drops frames to another MAC than its own, and no two change theirs at one
instant. So in the first step every host lets in frames to any MAC that come by the tunnel, and has the FDB entries of
the new ones beside the old; in the last one it ends that.

What a host had before it knows from its own saved state, so neither the ledger nor
another host is asked. A run that ends in between leaves a host that hears more than
it must; the next run goes on.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument, Peer, vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    read_files,
    remove_file,
    write_file,
    write_sysctl,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    ALIAS,
    ALTERNATE_LINK,
    LinkChange,
    LinkSpec,
    Row,
    compare_link,
    find_link,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    NO_ALLOWANCES,
    TransitionAllowances,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Delta, Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import batch_file, saved_settings

FINALIZE, PREPARE, CUTOVER = PHASES = ("finalize", "prepare", "cutover")

_MACS_TABLE = "netdev tke_overlay_macs"
_MACS_NOTE = f"{files.RUN_DIRECTORY}/any-mac"
"""There as long as the table is, so that a run without it need not ask nft."""
_NO_MACS_TABLE = f"table {_MACS_TABLE}\ndelete table {_MACS_TABLE}\n"  # the first line, so that the second never fails


class Transition(t.NamedTuple):
    """What of a change other hosts must have heard of before it is made; true if there is anything."""

    also: TransitionAllowances = NO_ALLOWANCES
    moved: bool = False  # this host sends from another address

    def __bool__(self) -> bool:
        return bool(self.also.peers or self.also.port or self.moved)


def transition_to(document: NodeDocument, own: Peer, peers: t.Sequence[Peer]) -> Transition:
    """What separates the saved state from a plan, as far as it takes both ends of the tunnel."""
    settings = saved_settings()
    if settings.get("device") != document["device"] or settings.get("mac") != vtep_mac(own.node_cidr):
        return Transition()  # nothing flows yet
    saved = _saved_underlays(document["device"])
    former = {saved.get(vtep_mac(peer.node_cidr), peer.underlay) for peer in peers} - {p.underlay for p in peers}
    port = int(settings.get("port", document["port"]))
    other = None if port == document["port"] else port
    return Transition(
        TransitionAllowances(sorted(former), other, "" if other is None else ALTERNATE_LINK),
        settings.get("local") != own.underlay,
    )


def _saved_underlays(device: str) -> dict[str, str]:
    """Return the underlay address of each VTEP MAC in the saved state. A line that was edited does not count."""
    table = FdbTable(device)
    path = batch_file(table)
    entries = filter(None, map(table.parse, read_files([path]).get(path, "").splitlines()))
    return {mac: spec.split()[1] for mac, spec in entries}


def alternate_link_of(link: LinkSpec, port: int | None) -> LinkSpec | None:
    """The link that hears this port beside the tunnel's own; none without one."""
    return None if port is None else link._replace(name=ALTERNATE_LINK, port=port, addresses=None)


def with_alternate_link(change: LinkChange, ear: LinkSpec | None, links: t.Sequence[Row]) -> LinkChange:
    """The change of the tunnel's link with that of the ear: the old ear goes first, as its port may be wanted."""
    row = find_link(ALTERNATE_LINK, links)
    mine = row is not None and row.get("ifalias") == ALIAS
    wanted = compare_link(ear, links) if ear is not None else None
    if not (wanted if ear is not None else mine):
        return change
    former = [f"link del {ALTERNATE_LINK}"] if mine else []
    creation = [] if ear is None else compare_link(ear, []).lines
    data = row["linkinfo"].get("info_data", {}) if row is not None and mine else {}
    return LinkChange(
        {**change.before, "also hears port": str(data.get("port", "none"))},
        {**change.after, "also hears port": "none" if ear is None else str(ear.port)},
        [*former, *change.lines, *creation],
        change.recreated,
    )


def relax_reverse_path_filter(ear: LinkSpec | None) -> None:
    """The answers to what comes by the ear leave by the tunnel's link: no strict reverse path."""
    if ear is not None:
        write_sysctl(f"net/ipv4/conf/{ALTERNATE_LINK}/rp_filter", "2")


def adopts_foreign_macs(device: str, link: LinkChange, neighbors: Delta) -> bool:
    """Whether the device is somebody else's so far, who gave its VTEP, or those of its peers, other MACs than we do."""
    if saved_settings().get("device") == device or not link.before or link.recreated:
        return False
    return "mac" in link.before or bool(neighbors.changed)


def accept_any_mac(device: str, run: Run) -> None:
    """Frames that come by the tunnel are for this host, whatever their MAC: nobody else is at this end of it.

    :raises KernelError: nft refused.
    """
    chain = f'type filter hook ingress device "{device}" priority -500; policy accept;'
    rule = "meta pkttype other meta pkttype set host"
    _load_macs(f"{_NO_MACS_TABLE}table {_MACS_TABLE} {{\n\tchain ingress {{\n\t\t{chain}\n\t\t{rule}\n\t}}\n}}\n", run)
    write_file(_MACS_NOTE, f"{device}\n", durable=False)


def accept_own_mac_only(run: Run) -> None:
    """Ends that, if it was begun.

    :raises KernelError: nft refused.
    """
    if os.path.exists(files.ROOT + _MACS_NOTE):
        _load_macs(_NO_MACS_TABLE, run)
        remove_file(_MACS_NOTE)


def _load_macs(text: str, run: Run) -> None:
    code, _out, errors = run(("nft", "-f", "-"), text)
    if code != 0:
        raise KernelError(f"nft refused table {_MACS_TABLE}: {error_text(code, errors)}")
