# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI configuration: the addresses of Pods, and each setting whose error would show in traffic only."""

from __future__ import annotations

import ipaddress
import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import (
    CNI_FILE,
    NETWORK,
    conflist,
    offered_plugins,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import NOT_INSTALLED, CniPlugins
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import RESERVED


@pytest.mark.parametrize(
    ("node_cidr", "first", "last", "gateway"),
    [
        ("10.244.3.0/24", "10.244.3.2", "10.244.3.254", "10.244.3.1"),
        ("10.244.3.64/28", "10.244.3.66", "10.244.3.78", "10.244.3.65"),
        ("10.244.0.0/22", "10.244.0.2", "10.244.3.254", "10.244.0.1"),
    ],
)
def test_pods_get_all_addresses_except_three(node_cidr, first, last, gateway):
    bridge, _portmap = json.loads(conflist(node_cidr, "tke-br0", 1400))["plugins"]
    assert bridge["ipam"] == {
        "type": "host-local",
        "ranges": [[{"subnet": node_cidr, "rangeStart": first, "rangeEnd": last, "gateway": gateway}]],
    }
    size = int(ipaddress.ip_address(last)) - int(ipaddress.ip_address(first)) + 1
    assert size == ipaddress.ip_network(node_cidr).num_addresses - 3


@pytest.mark.parametrize(
    ("offered", "types", "version", "versions"),
    [
        (CniPlugins(), ["bridge", "portmap"], "0.4.0", None),
        (CniPlugins([], ["0.4.0"]), ["bridge"], "0.4.0", None),
        (CniPlugins(["portmap", "bandwidth"], ["0.4.0"]), ["bridge", "portmap", "bandwidth"], "0.4.0", None),
        (CniPlugins(["bandwidth"], ["0.4.0", "1.0.0"]), ["bridge", "bandwidth"], "1.0.0", ["0.4.0", "1.0.0"]),
        (
            CniPlugins(["portmap"], ["0.4.0", "1.0.0", "1.1.0"]),
            ["bridge", "portmap"],
            "1.0.0",
            ["0.4.0", "1.0.0", "1.1.0"],
        ),
        (CniPlugins([], ["1.1.0"]), ["bridge"], "1.1.0", None),
    ],
)
def test_uses_what_the_plugins_offer(offered, types, version, versions):
    document = json.loads(conflist("10.244.3.0/24", "tke-br0", 1400, offered))
    assert [each["type"] for each in document["plugins"]] == types
    assert (document["cniVersion"], document.get("cniVersions")) == (version, versions)
    capabilities = {each["type"]: each.get("capabilities") for each in document["plugins"][1:]}
    known = {"portmap": {"portMappings": True}, "bandwidth": {"bandwidth": True}}
    assert capabilities == {name: known[name] for name in types[1:]}


def without_plugins(directory, text):
    """Return what a host offers that has this CNI file, if any, and none of the required plugins."""
    if text is not None:
        path = directory / CNI_FILE.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return offered_plugins(["/opt/cni/bin"], None)


@pytest.mark.parametrize("optional", [[], ["portmap"], ["bandwidth"], ["portmap", "bandwidth"]])
@pytest.mark.parametrize("versions", [["0.4.0"], ["0.4.0", "1.0.0"], ["0.4.0", "1.0.0", "1.1.0"], ["1.1.0"]])
def test_the_file_stays_while_a_required_plugin_is_missing(optional, versions, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    text = conflist("10.244.3.0/24", "tke-br0", 1400, CniPlugins(optional, versions, installed=True))
    found = without_plugins(tmp_path, text)
    assert conflist("10.244.3.0/24", "tke-br0", 1400, found) == text
    assert not found.installed


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"plugins": [{}]}', '{"plugins": [], "cniVersion": "9"}', '{"plugins": 1}']
)
def test_a_host_without_plugins_and_file_gets_the_default(text, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    assert without_plugins(tmp_path, text) == NOT_INSTALLED


def test_reservations_are_those_of_the_network():
    """host-local names its directory after the network, where the file sets no dataDir."""
    assert "dataDir" not in conflist("10.244.3.0/24", "tke-br0", 1400)
    assert f"/var/lib/cni/networks/{NETWORK}" == RESERVED


def test_settings_of_the_bridge_and_the_portmap_plugin():
    document = json.loads(conflist("10.244.3.0/24", "tke-br0", 1400))
    bridge, portmap = document["plugins"]
    assert (document["cniVersion"], document["name"]) == ("0.4.0", "tke-overlay")
    del bridge["ipam"]
    assert bridge == {
        "type": "bridge",
        "bridge": "tke-br0",
        "mtu": 1400,
        "isDefaultGateway": True,
        "hairpinMode": True,  # a Pod reaches itself through its own Service
        "ipMasq": False,  # the nftables rules masquerade, because they know what stays inside the cluster
    }
    assert portmap == {"type": "portmap", "capabilities": {"portMappings": True}}
