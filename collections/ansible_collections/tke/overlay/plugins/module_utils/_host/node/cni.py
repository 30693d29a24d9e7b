# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI configuration that gives the Pods of a host their addresses."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import gateway_address, pod_range
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import (
    NOT_INSTALLED,
    OPTIONAL,
    VERSIONS,
    CniPlugins,
    read_plugins,
)

CNI_FILE = "/etc/cni/net.d/10-tke-overlay.conflist"

NETWORK = "tke-overlay"
"""The name of the CNI network. CNI plugins and runtimes keep their records under it."""

_CHAINED = {
    "portmap": {"type": "portmap", "capabilities": {"portMappings": True}},
    "bandwidth": {"type": "bandwidth", "capabilities": {"bandwidth": True}},
}


def offered_plugins(bin_dirs: t.Sequence[str], run: Run) -> CniPlugins:
    """Return what the plugins of this host offer; while a required one is missing, what its CNI file uses.

    So the file stays as it is while a plugin is missing for a moment, as during an upgrade of its package.

    :param bin_dirs: where the container runtime looks; empty: find out.
    """
    found = read_plugins(bin_dirs, run)
    return found if found.installed else _used_plugins(read_files([CNI_FILE]).get(CNI_FILE, ""))


def _used_plugins(text: str) -> CniPlugins:
    """Return what :func:`conflist` was given for this text; the default for another one."""
    named = plugins_of(text)
    if not named:
        return NOT_INSTALLED
    document = json.loads(text)
    versions = document.get("cniVersions", [document.get("cniVersion")])
    if not isinstance(versions, list) or not versions or not all(each in VERSIONS for each in versions):
        return NOT_INSTALLED
    return CniPlugins([name for name in OPTIONAL if name in named], versions)


def plugins_of(text: str) -> list[str]:
    """Return the programs that a CNI file names, also those that assign addresses."""
    try:
        plugins = json.loads(text)["plugins"]
        named = [kind for each in plugins for kind in (each["type"], each.get("ipam", {}).get("type"))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # not JSON: the file was edited, which is drift
    return list(dict.fromkeys(str(name) for name in named if name))


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
