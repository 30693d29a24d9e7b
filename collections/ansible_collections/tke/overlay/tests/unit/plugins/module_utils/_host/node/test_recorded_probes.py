# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of a host, of its Pods and of the API endpoint find in recorded listings of iproute2 and ss.

tests/tools/record_iproute2.py makes the recordings, and defines the objects that existed: every version gives the same
result.
"""

from __future__ import annotations

import pathlib
import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import find_obstacles
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec, check_conflicts, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import apply, compare
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import UnderlayRoute, underlay_routes
from ansible_collections.tke.overlay.plugins.module_utils._host.node.outward_links import outward_links
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE

DATA = pathlib.Path(__file__).parents[1] / "kernel" / "data"
VERSIONS = sorted(path.stem.partition("-")[2] for path in DATA.glob("iproute2-*.txt"))
VERSIONS.remove("5.0")  # recorded before the checks were


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """The directory of the files of the host, and of its sysctls."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path / "proc"))
    return tmp_path


@pytest.fixture(params=VERSIONS)
def run(request):
    """Return the recorded output of each command; the host has no other programs than those of iproute2."""
    blocks = (DATA / f"iproute2-{request.param}.txt").read_text(encoding="utf-8").split("\n$ ")[1:]
    outputs = dict(block.rstrip("\n").partition("\n")[::2] for block in blocks)

    def recorded(command, _text):
        if command[0] not in ("ip", "bridge", "ss"):
            return 1, "", "command not found"
        output = outputs[" ".join(command)]
        return (2, "", output) if output.startswith("! ") else (0, f"{output}\n", "")

    return recorded


def test_routes_to_peers_are_grouped_by_link_and_mtu(run):
    peers = ["10.0.1.12", "10.244.6.5", "10.244.7.5", "192.0.2.1"]
    assert underlay_routes("10.0.1.11", peers, run) == [
        UnderlayRoute("eth0", None, ("10.0.1.12", "192.0.2.1")),
        UnderlayRoute("eth0", 1300, ("10.244.6.5",)),
    ], "10.244.7.5 is unreachable"


def test_links_of_all_default_routes_lead_outward(run):
    assert outward_links("10.0.1.11", read_links(run), run) == ["eth0", "lan1"]


def test_the_program_on_a_port_is_named(run):
    with pytest.raises(ValidationError, match=r'UDP port 8473 \(overlay_port\) is taken by "python[0-9.]*",pid=\d+'):
        check_conflicts(LinkSpec("tke9", 9, 8473, "10.0.1.11"), read_links(run), run)


BRIDGES = {
    "tke-br0": ("10.244.0.0/24", []),
    "tke-br1": (
        "10.245.0.0/24",
        [
            "link set vethbbbb0001 type bridge_slave hairpin on",
            "link set vethbbbb0002 master tke-br1 up",
            "link set vethbbbb0002 type bridge_slave hairpin on",
            "route replace 10.245.0.0/24 dev tke-br1 src 10.245.0.1 proto kernel scope link",
        ],
    ),
    "tke-br2": ("10.246.0.0/24", ["address replace 10.246.0.1/24 brd + dev tke-br2", "link set tke-br2 up"]),
}


@pytest.mark.parametrize("bridge", BRIDGES)
def test_the_bridge_and_its_ports_are_put_right(run, bridge):
    node_cidr, expected = BRIDGES[bridge]
    table, batches = BridgeTable(bridge, [node_cidr], node_cidr), []

    def noted(_command, text):
        batches.append(text)
        return 0, "", ""

    actual = table.read(run)
    apply([(table, compare(table, actual, table.wanted(actual)))], noted)
    assert sorted("".join(batches).splitlines()) == sorted(expected)


HAIRPIN = "the link vethbbbb0001 is on the Pod bridge tke-br1, but without hairpin mode: a Pod does not reach itself by"
STRAY = "the links vethbbbb0002 (Pod address 10.245.0.3), vethbbbb0003 (Pod address 10.245.0.4) are not on"
BACK = "the kernel does not forward packets from 10.244.1.2 on tke0 to 10.245.0.2 on tke-br1: it sends them to eth0"
"""By the default route, because the connected one is missing."""

PORTS = {
    "tke-br0": (PodNetwork("tke0", "tke-br0", 8472, "10.244.0.0/24", ["10.244.0.0/16"], "10.244.1.0/24"), []),
    "tke-br1": (
        PodNetwork("tke0", "tke-br1", 8472, "10.245.0.0/24", ["10.245.0.0/16"], "10.244.1.0/24"),
        [
            HAIRPIN,
            STRAY,
            BACK,
        ],
    ),
}


@pytest.mark.parametrize("bridge", PORTS)
def test_pods_off_the_bridge_and_wrong_routes_are_found(run, bridge):
    network, expected = PORTS[bridge]
    found = pod_findings(network, run)
    texts = [each.text for each in found if each.check in ("port", "route", "links")]
    assert len(texts) == len(expected)
    assert all(text.startswith(beginning) for text, beginning in zip(texts, expected)), texts


def test_the_route_to_the_load_balancer_is_compared(run):
    present = "10.8.0.0/24 via 10.0.1.1 dev eth0"
    assert tuple(find_route("", "10.8.0.0/24", "10.0.1.1", run)) == (present, f"{present} onlink")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.8.0.9", r"nothing answers for 10\.0\.1\.1 on eth0: the gateway is down"),
        ("10.244.7.5", r"unreachable 10\.244\.7\.0/24"),
        ("10.244.9.1", r"10\.244\.9\.1 is an address of link tke-br0 of this host itself"),
    ],
)
def test_an_obstacle_to_the_load_balancer_is_named(run, address, expected):
    (sentence,) = find_obstacles(address, 6443, run)
    assert re.search(expected, sentence)


def test_the_status_has_the_counters_of_the_device(run, root):
    (root / STATE.lstrip("/")).mkdir(parents=True)
    (root / STATE.lstrip("/") / "settings").write_text("device=tke0 mtu=1400\n", encoding="utf-8")
    found = read_status(run, None, ["10.244.9.1", "10.0.1.50"])
    assert found["counters"]["tx_packets"] == 1
    assert found["counters"]["tx_bytes"] > 0
    assert found["counters"]["rx_packets"] == 0
    assert found["vips"] == ["10.244.9.1"]
    assert found["vtep"]["state"] == "up"
