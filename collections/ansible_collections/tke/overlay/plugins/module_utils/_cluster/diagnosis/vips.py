# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VIPs of the private load balancer: whether one host of the pair has each, and no other host."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import natural, some

PAIR = 2
"""Hosts of the load balancer."""

Overlays = t.Mapping[str, t.Optional[t.Mapping[str, t.Any]]]
"""Host -> its return value ``overlay`` of module overlay_info; ``None`` for a host that was not read."""


class VipFault(t.NamedTuple):
    """What is wrong with a VIP: the hosts that have it and should not, a sentence, and the next step.

    ``certain`` is false if a host that was not read can have the VIP.
    """

    hosts: tuple[str, ...]
    text: str
    remedy: str
    certain: bool = True


def pair_of(overlays: Overlays) -> dict[str, t.Mapping[str, t.Any]]:
    """Return the hosts on which the load balancer is installed. They can be nodes as well."""
    return {host: overlay for host, overlay in overlays.items() if overlay and overlay.get("load_balancer")}


def holders(address: str, overlays: Overlays) -> list[str]:
    """Return the hosts that have an address on one of their links."""
    found = (host for host, overlay in overlays.items() if overlay and address in (overlay.get("vips") or ()))
    return sorted(found, key=natural)


def vip_faults(vips: t.Mapping[str, str], overlays: Overlays) -> list[VipFault]:
    """Return what is wrong with the VIPs; nothing if no host of the pair was read.

    Another load balancer than the pair can have them on any host.

    :param vips: name -> address.
    """
    pair, faults = pair_of(overlays), list[VipFault]()
    for name, address in sorted(vips.items()) if pair else ():
        having, vip = holders(address, overlays), f"VIP {name} {address}"
        on_pair = [host for host in having if host in pair]
        others = [host for host in having if host not in pair]
        if not on_pair:
            faults += _on_none(vip, pair, overlays)
        elif len(on_pair) > 1:
            both = " and ".join(on_pair)
            remedy = f"permit VRRP between {both}: IP protocol 112, unicast; journalctl -u tke-overlay-keepalived"
            faults.append(VipFault(tuple(on_pair), f"{vip} is on {both} at the same time", remedy))
        if others:
            faults.append(_on_others(vip, others))
    return faults


def _on_none(vip: str, pair: t.Iterable[str], overlays: Overlays) -> t.Iterator[VipFault]:
    names = sorted(pair, key=natural)
    remedy = f"on {some(names)}: systemctl status 'tke-overlay-*'; journalctl -u tke-overlay-keepalived"
    if len(names) == PAIR:
        yield VipFault((), f"{vip} is on no host of the pair", remedy)
    elif None in overlays.values():  # without any, the run was limited to one host of the pair
        text = f"{vip} is not on {some(names)}, and the other host of the pair was not read"
        yield VipFault((), text, remedy, certain=False)


def _on_others(vip: str, hosts: t.Sequence[str]) -> VipFault:
    which, its = "which is no host of the pair", "its"
    if len(hosts) > 1:
        which, its = "which are no hosts of the pair", "their"
    text = f"{vip} is an address of {some(hosts)}, {which}: {its} packets to the VIP go nowhere else"
    remedy = (
        f"remove the VIP from {some(hosts)}: on kube-ipvs0 from externalIPs or status.loadBalancer of the Service, "
        f"otherwise from the link; or set another one in overlay_clb_vips"
    )
    return VipFault(tuple(hosts), text, remedy)
