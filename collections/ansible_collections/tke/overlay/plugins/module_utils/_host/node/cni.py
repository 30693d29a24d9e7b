# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI configuration that gives the Pods of a host their addresses."""

from __future__ import annotations

import json

from ansible_collections.tke.overlay.plugins.module_utils._addressing import gateway_address, pod_range
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import NOT_INSTALLED, CniPlugins

CNI_FILE = "/etc/cni/net.d/10-tke-overlay.conflist"

NETWORK = "tke-overlay"
"""The name of the CNI network. CNI plugins and runtimes keep their records under it."""

_CHAINED = {
    "portmap": {"type": "portmap", "capabilities": {"portMappings": True}},
    "bandwidth": {"type": "bandwidth", "capabilities": {"bandwidth": True}},
}


def conflist(node_cidr: str, bridge: str, mtu: int, offered: CniPlugins = NOT_INSTALLED) -> str:
    """Return a CNI network list: a bridge with the gateway of the node CIDR, Pod addresses, and what is installed.

    :param node_cidr: the host's own node CIDR; Pods get no VTEP address, no gateway and no last address.
    :param mtu: the overlay's MTU in bytes, so that no Pod sends a packet that the tunnel would drop.
    :param offered: what the plugins of the host offer.
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
        *(_CHAINED[name] for name in offered.optional),
    ]
    # A runtime that does not know cniVersions uses cniVersion; others use the highest version that they support.
    versions = {"cniVersions": list(offered.versions)} if len(offered.versions) > 1 else {}
    document = {"cniVersion": offered.version, **versions, "name": NETWORK, "plugins": plugins}
    return json.dumps(document, indent=2) + "\n"
