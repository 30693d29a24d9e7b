# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node document, as the modules on a host take it."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay._document."""

    DOCUMENTATION = r"""
options:
  name:
    description: The name of this host in the plan. Required with O(document).
    type: str
  document:
    description: The document that M(tke.overlay.plan) returned. It is the same for all hosts.
    type: dict
    suboptions:
      schema:
        description: The version of the document.
        type: int
        required: true
      cluster:
        description: The identity of the cluster.
        type: str
        required: true
      device:
        description: The name of the VXLAN link.
        type: str
        required: true
      vni:
        description: The VXLAN network identifier.
        type: int
        required: true
      port:
        description: The UDP port of the tunnel.
        type: int
        required: true
      mtu:
        description: The MTU of the overlay, in bytes; with O(document.links), the largest of all.
        type: int
        required: true
      bridge:
        description: The name of the Pod bridge.
        type: str
        required: true
      container_cidr:
        description: The container CIDRs.
        type: list
        elements: str
        required: true
      service_cidr:
        description: The Service range.
        type: str
        required: true
      fleet:
        description:
          - All nodes, one per line, with name, node CIDR and underlay address; with O(document.links) also the site,
            and with WireGuard the endpoint and the public keys.
        type: str
        required: true
      links:
        description:
          - The links of each pair of sites, one per line, with both sites, transport and MTU.
          - Without it, VXLAN connects all nodes, with the same MTU.
        type: str
      wireguard_port:
        description: The UDP port of WireGuard, if a link has it.
        type: int
      wireguard_generation:
        description: The number of the generation of WireGuard keys, if a link has it.
        type: int
      wireguard_next_port:
        description: While keys change together with the port, the UDP port of WireGuard with the next keys.
        type: int
      former:
        description:
          - Released node CIDRs, one per line, each with the node that had it last. They explain to a host why its plan
            differs from the one that it has applied.
          - Without it, a host compares only its own node CIDR.
        type: str
      ledger_versions:
        description:
          - The last versions of the ledger, the present one first. A host rejects a plan of an older ledger than that
            of the plan that it has applied.
          - Without it, a host does not compare versions.
        type: str
"""
