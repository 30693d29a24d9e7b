# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI configuration that gives the Pods of a host their addresses."""

from __future__ import annotations

import json

from ansible_collections.tke.overlay.plugins.module_utils._addressing import gateway_address, pod_range

CNI_FILE = "/etc/cni/net.d/10-tke-overlay.conflist"

NETWORK = "tke-overlay"
"""The name of the CNI network. CNI plugins and runtimes keep their records under it."""

CNI_VERSION = "0.4.0"
"""Supported by all container runtimes since containerd 1.3 and CRI-O 1.17."""


def conflist(node_cidr: str, bridge: str, mtu: int) -> str:
    """Return a CNI network list: a bridge with the gateway of the node CIDR, Pod addresses, and host ports.

    :param node_cidr: the host's own node CIDR; Pods get no VTEP address, no gateway and no last address.
    :param mtu: the overlay's MTU in bytes, so that no Pod sends a packet that the tunnel would drop.
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
            "isDefaultGateway": True,  # adds the default route; another one under "routes" would conflict with it
            "hairpinMode": True,
            "ipMasq": False,
            "mtu": mtu,
            "ipam": ipam,
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    document = {"cniVersion": CNI_VERSION, "name": NETWORK, "plugins": plugins}
    return json.dumps(document, indent=2) + "\n"
