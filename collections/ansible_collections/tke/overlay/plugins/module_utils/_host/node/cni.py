# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the CNI configuration by which the host's Pods get their addresses."""

from __future__ import annotations

import json

from ansible_collections.tke.overlay.plugins.module_utils._addressing import gateway_address, pod_range

CNI_FILE = "/etc/cni/net.d/10-tke-overlay.conflist"

CNI_VERSION = "0.4.0"
"""Understood by every container runtime since containerd 1.3 and CRI-O 1.17."""


def conflist(node_cidr: str, bridge: str, mtu: int) -> str:
    """A CNI network list: a bridge with the node CIDR's gateway, addresses from the node CIDR, host ports.

    :param node_cidr: the host's own node CIDR; its VTEP, gateway and last address are left out.
    :param mtu: of the overlay, in bytes, so that no Pod sends what the tunnel would drop.
    """
    first, last = pod_range(node_cidr)
    ipam = {
        "type": "host-local",
        "ranges": [
            [{"subnet": node_cidr, "rangeStart": first, "rangeEnd": last, "gateway": gateway_address(node_cidr)}]
        ],
    }
    plugins = [
        {
            "type": "bridge",
            "bridge": bridge,
            "isDefaultGateway": True,  # also the default route: one more under "routes" would clash with it
            "hairpinMode": True,
            "ipMasq": False,
            "mtu": mtu,
            "ipam": ipam,
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    document = {"cniVersion": CNI_VERSION, "name": "tke-overlay", "plugins": plugins}
    return json.dumps(document, indent=2) + "\n"
