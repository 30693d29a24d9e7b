# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a cutover: how a fleet changes underlay addresses, the port or MAC addresses without losing packets.

No two hosts change at the same instant. A host with a new underlay address sends
from that address, and a peer that does not know it yet drops the packets as *not a
peer*. A host with the new port does not receive on the old one. A change that
concerns both ends of the tunnel is therefore made in three phases, each on all
hosts before the next one:

========  ==========================================================================
prepare   Accept the new plan in addition to the old one: the rules accept both
          addresses of each peer and both ports, and the alternate link receives on
          the new port. The host still sends by the old plan. A host that the change
          does not concern converges completely.
cutover   Send by the new plan. The alternate link now receives on the old port.
finalize  Accept the new plan alone, as every later run does.
========  ==========================================================================

The same phases replace the routes of a former overlay, flannel with host-gw or with
another VNI (:func:`former_links`): until *finalize* the rules let packets of Pods pass
by the links of both. The device exists since *prepare*, the routes change in *cutover*.

A change of a link's transport is one of these, too. Until *finalize* a host takes the
packets of such a peer by both transports, whose neighbour and FDB entry, WireGuard device
and peer it keeps; the route is replaced in *cutover*. From *cutover* on, the blackhole
beneath a route by WireGuard keeps packets from leaving in clear, and from *finalize* on
the rules do as well. To a peer that *prepare* has not reached (:attr:`Cutover.unreached`)
the host sends as before, in every phase, until a run reaches that peer: the saved route
shows which peers these are.

They also take over a device that another program made with other MAC
addresses (:func:`adopts_foreign_macs`), because a host drops frames for other MACs
than its own. From *prepare* until *finalize* every host accepts frames for any MAC
from the tunnel; in *prepare* it also gets the FDB entries of the new MACs.

A host reads its former plan from its own saved state; it needs neither the ledger
nor another host. If a run ends between two phases, the host accepts more than it
must, and the next run continues. If that one goes back to the former plan, a host that
has only prepared has nothing to change, and still accepts both until *finalize*
(:data:`PREPARED_NOTE`), because others may send by the other plan already.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts, read_files, remove_file, write_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    ALTERNATE_LINK,
    LinkChange,
    apply_link,
    compare_link,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    NO_ALLOWANCES,
    TransitionAllowances,
    delete_table,
    deletion_of,
    load_table,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    BLACKHOLE,
    FormerRoute,
    device_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Delta, Run, apply
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import compare as compare_entries
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import DEVICES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import (
    relax_reverse_path_filter,
    with_alternate_link,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import NodeResult
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import HostLinks, newly_encrypted
from ansible_collections.tke.overlay.plugins.module_utils._host.node.phases import CUTOVER, FINALIZE, PREPARE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import Target
from ansible_collections.tke.overlay.plugins.module_utils._host.node.wireguard_devices import (
    create_devices,
    former_devices,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import with_checksum
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import forwarding_of
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import save_together
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ANY_MAC_NOTE,
    CHECKSUMS,
    PREPARED_NOTE,
    RULES_FILE,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import batch_file, saved_settings
from ansible_collections.tke.overlay.plugins.module_utils._links import DIRECT

_MACS_TABLE = "netdev tke_overlay_macs"


class Transition(t.NamedTuple):
    """What other hosts must know before this host changes to the plan; true if there is anything."""

    allowances: TransitionAllowances = NO_ALLOWANCES
    moved: bool = False  # the plan has another underlay address for this host

    def __bool__(self) -> bool:
        allowances = self.allowances
        return bool(allowances.peers or allowances.port or allowances.wireguard or allowances.former or self.moved)


class PhaseStep(t.NamedTuple):
    """What this host does for the cutover in one phase, before it makes its own change."""

    phase: str
    transitional: Target | None  # the target that accepts both plans; ``None``: addresses and port stay
    foreign_macs: bool  # the device of another program, with other MAC addresses, is being taken over

    @property
    def unfinished(self) -> bool:
        """Whether the host's own change must wait until the other hosts have prepared."""
        return self.phase == PREPARE and (self.foreign_macs or self.transitional is not None)


class Cutover(t.NamedTuple):
    """What a run knows of a cutover: its phase, and the nodes that the phases before have not reached."""

    phase: str
    unreached: t.Collection[str] = ()  # they send and understand only what they did before


def transitional_target(
    target: Target, cutover: Cutover, links: t.Sequence[str], build: t.Callable[[TransitionAllowances], Target]
) -> Target | None:
    """Return the target that accepts both the saved plan and the new plan.

    :param target: what the host must have at the end.
    :param links: see :func:`former_links`.
    :param build: returns the target of the same plan with these allowances.
    :returns: ``None`` if the change does not concern other hosts, or the phase accepts the new plan only.
    """
    transition = transition_to(target)
    allowances = transition.allowances
    former = allowances.former
    kept = [each.peer.node_cidr for each in target.links.peers if each.peer.name in cutover.unreached]
    allowances = allowances._replace(kept=[node_cidr for node_cidr in kept if node_cidr in former])
    if cutover.phase == FINALIZE:
        left = {node_cidr: former[node_cidr] for node_cidr in allowances.kept}
        return (
            build(NO_ALLOWANCES._replace(former=left, kept=allowances.kept, wireguard=allowances.wireguard))
            if left
            else None
        )
    if not transition and not links:
        return None
    return build(allowances._replace(links=links))


def former_links(target: Target, difference: NodeResult) -> list[str]:
    """Return the links of the routes that a former overlay has to the peers, and that the target replaces.

    :raises ValidationError: the reverse-path filter of such a link, or of one with direct peers, would drop packets
        during the change.
    """
    changed = list(difference.tables[target.tables.routes.name].changed.values())
    tunnels = {"", target.link.name, *DEVICES}
    links = sorted({device_of(old) for old, _new in changed if " proto " in old} - tunnels)
    moved = {device_of(spec) for pair in changed if device_of(pair[0]) != device_of(pair[1]) for spec in pair}
    strict = [link for link in sorted(moved - tunnels) if _filters_strictly(link)]
    if strict:
        raise ValidationError(
            *(
                f"net.ipv4.conf.{link}.rp_filter is strict (1), so packets of Pods that still come by {link} would be "
                f"dropped while the routes change: sysctl -w net.ipv4.conf.{link}.rp_filter=2 for this run"
                for link in strict
            )
        )
    return links


def _filters_strictly(link: str) -> bool:
    """Return whether the reverse-path filter of a link is strict. The larger value of the link and of all counts."""
    found = files.read_sysctls([f"net/ipv4/conf/{each}/rp_filter" for each in ("all", link)])
    return max(found.values(), default="0") == "1"


def transition_to(target: Target) -> Transition:
    """Compare the saved state with a target, as far as both ends of the links are concerned."""
    settings, own = saved_settings(), target.links.own
    if settings.get("device") != target.link.name or settings.get("mac") != vtep_mac(own.node_cidr):
        return Transition()  # this host sends and receives nothing yet
    saved = _saved_underlays(target.link.name)
    peers = [each.peer for each in target.links.peers]
    former = {saved.get(vtep_mac(peer.node_cidr), peer.underlay) for peer in peers} - {p.underlay for p in peers}
    port = int(settings.get("port", target.link.port))
    other = None if port == target.link.port else port
    return Transition(
        TransitionAllowances(
            sorted(former),
            other,
            "" if other is None else ALTERNATE_LINK,
            wireguard=former_devices(target.wireguard),
            former=_former_routes(target, saved),
        ),
        settings.get("local") != own.underlay,
    )


def _former_routes(target: Target, underlays: t.Mapping[str, str]) -> dict[str, FormerRoute]:
    """Return the saved routes to the peers that the target reaches by another device, by node CIDR.

    :param underlays: see :func:`_saved_underlays`.
    """
    table, device = target.tables.routes, target.link.name
    path = batch_file(table)
    lines = read_files([path]).get(path, "").splitlines()
    if not target.links.listed and all(f" dev {device} " in line or BLACKHOLE in line for line in lines):
        return {}  # VXLAN before and after
    saved = dict(filter(None, map(table.parse, lines)))
    wanted = target.tables.wanted[table.name].entries
    former = {}
    for each in target.links.peers:
        node_cidr = each.peer.node_cidr
        spec = saved.get(node_cidr, "")
        if spec and device_of(spec) != device_of(wanted.get(node_cidr, "")):
            underlay = underlays.get(vtep_mac(node_cidr), "") if device_of(spec) == device else ""
            former[node_cidr] = FormerRoute(spec, underlay)
    return former


def _saved_underlays(device: str) -> dict[str, str]:
    """Return the underlay address of each VTEP MAC in the saved state. A line that was edited does not count."""
    table = FdbTable(device)
    path = batch_file(table)
    entries = filter(None, map(table.parse, read_files([path]).get(path, "").splitlines()))
    return {mac: spec.split()[1] for mac, spec in entries}


def step_of(phase: str, transitional: Target | None, target: Target, difference: NodeResult) -> PhaseStep:
    """Return what this host does for the cutover in this phase; change nothing.

    :param transitional: see :class:`PhaseStep`.
    :param target: what the host must have at the end of this run.
    :param difference: what separates the host from ``target``.
    """
    neighbors = difference.tables[target.tables.neighbors.name]
    foreign_macs = phase != FINALIZE and adopts_foreign_macs(target.link.name, difference.link, neighbors)
    return PhaseStep(phase, transitional, foreign_macs)


def take_step(step: PhaseStep, target: Target, difference: NodeResult, run: Run) -> None:
    """Make the host accept what other hosts send by either plan. Nothing of this can cut the host off.

    :raises KernelError: the kernel rejected a change.
    """
    if not step.foreign_macs:
        accept_own_mac_only(run)
    elif step.phase == PREPARE:
        _prepare_new_macs(target, difference, run)
    else:
        _send_to_new_macs(target, difference, run)
    if step.transitional is not None and step.phase == CUTOVER:
        step.transitional.wireguard.await_handshakes(run, newly_encrypted(step.transitional.links))
    if step.transitional is not None and step.phase == PREPARE:
        _accept_both_plans(step.transitional, run)
        write_file(PREPARED_NOTE, "", durable=False)


def goes_back(phase: str, transitional: Target | None) -> bool:
    """Return whether this host has prepared for another plan, and the run goes back to the one that it has."""
    return phase != FINALIZE and transitional is None and os.path.exists(files.ROOT + PREPARED_NOTE)


def _accept_both_plans(transitional: Target, run: Run) -> None:
    """Replace the rules and create the alternate link. Everything else, also the saved state, stays by the old plan.

    This cannot cut the host off, so it is not part of a confirmed commit.
    """
    rules = transitional.rules
    if compare_entries(rules, rules.read(run), rules.wanted):
        rules.replace(run)
    if saved_settings():
        save_together({RULES_FILE: rules.text, CHECKSUMS: with_checksum(CHECKSUMS, RULES_FILE, rules.text)})
    _forward_from(transitional.links, transitional.sysctls)
    if transitional.wireguard.specs:
        create_devices(transitional.wireguard, transitional.sysctls, run)
    if transitional.former_links:
        _receive(transitional, run)
    if transitional.alternate_link is not None:
        alternate = transitional.alternate_link._replace(port=transitional.link.port)
        apply_link(with_alternate_link(LinkChange({}, {}, []), alternate, read_links(run)), run)
        relax_reverse_path_filter(alternate, transitional.pods)


def _forward_from(links: HostLinks, sysctls: Texts) -> None:
    """Let the kernel forward what comes by the links to direct peers."""
    names = {forwarding_of(each.device) for each in links.with_transport(DIRECT)}
    wanted = {key: text for key, text in sysctls.items() if key in names}
    for key, value in files.differing(files.read_sysctls(wanted), wanted).items():
        files.write_sysctl(key, str(value))


def _receive(transitional: Target, run: Run) -> None:
    """Create the tunnel's link, so that it receives what other hosts send by the new plan.

    :raises KernelError: the kernel rejected it.
    """
    name = transitional.link.name
    apply_link(compare_link(transitional.link, read_links(run)), run)
    wanted = {key: text for key, text in transitional.sysctls.items() if key.startswith(f"net/ipv4/conf/{name}/")}
    for key, value in files.differing(files.read_sysctls(wanted), wanted).items():
        files.write_sysctl(key, str(value))


def _prepare_new_macs(target: Target, difference: NodeResult, run: Run) -> None:
    """Accept frames for the former and the new MACs of the adopted device, and add the FDB entries of the new ones."""
    accept_any_mac(target.link.name, run)
    added = difference.tables[target.tables.fdb.name].added
    apply([(target.tables.fdb, Delta(added, {}, {}, {}))], run)


def _send_to_new_macs(target: Target, difference: NodeResult, run: Run) -> None:
    """Change the neighbour entries to the new MACs before the FDB entries of the former MACs are removed."""
    changed = difference.tables[target.tables.neighbors.name].changed
    apply([(target.tables.neighbors, Delta({}, changed, {}, {}))], run)


def adopts_foreign_macs(device: str, link: LinkChange, neighbors: Delta) -> bool:
    """Return whether another program made the device, and its VTEP or those of its peers have other MACs."""
    if saved_settings().get("device") == device or not link.before or link.recreated:
        return False
    return "mac" in link.before or bool(neighbors.changed)


def accept_any_mac(device: str, run: Run) -> None:
    """Accept frames from the tunnel whatever their MAC: this host is the only one at this end of the tunnel.

    :raises KernelError: nft rejected the rule.
    """
    chain = f'type filter hook ingress device "{device}" priority -500; policy accept;'
    rule = "meta pkttype other meta pkttype set host"
    table = f"table {_MACS_TABLE} {{\n\tchain ingress {{\n\t\t{chain}\n\t\t{rule}\n\t}}\n}}\n"
    load_table(_MACS_TABLE, f"{deletion_of(_MACS_TABLE)}{table}", run)
    write_file(ANY_MAC_NOTE, f"{device}\n", durable=False)


def accept_own_mac_only(run: Run) -> None:
    """End the effect of :func:`accept_any_mac`, if it was called.

    :raises KernelError: nft failed.
    """
    if os.path.exists(files.ROOT + ANY_MAC_NOTE):
        delete_table(_MACS_TABLE, run)
        remove_file(ANY_MAC_NOTE)
