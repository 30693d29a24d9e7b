# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The overlay replaces flannel on real tables: routes in three phases, then the leftovers."""

from __future__ import annotations

import json
import shutil

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node.flannel import (
    find_leftovers,
    remove_leftovers,
    saved_node,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import BAD, NOTE, saved_network
from breakages import PEERS, document, everything

REPLACE = node.ConvergeOptions(replace_flannel=True)
PREPARE, CUTOVER = REPLACE._replace(phase="prepare"), REPLACE._replace(phase="cutover")
OTHER_VNI = document(vni=2, bridge="cni0")

CNI = {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}
SUBNET_ENV = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.0.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
RULES = """
table ip filter {
	chain FLANNEL-FWD {
		ip saddr 10.244.0.0/16 counter packets 7 bytes 70 accept comment "flanneld forward"
	}
	chain FORWARD {
		type filter hook forward priority filter; policy POLICY;
		counter packets 7 bytes 70 jump FLANNEL-FWD comment "flanneld forward"
		counter packets 1 bytes 10 comment "of somebody else"
	}
}
table ip nat {
	chain FLANNEL-POSTRTG {
		ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 counter packets 0 bytes 0 masquerade comment "flanneld masq"
	}
	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		counter packets 3 bytes 30 jump FLANNEL-POSTRTG comment "flanneld masq"
	}
}
table ip flannel-ipv4 {
	chain postrtg { }
}
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def make(run, *lines):
    for line in lines:
        done = run(line.split())
        assert done[0] == 0, (line, done)


def bridge(run):
    make(
        run,
        "ip link add cni0 type bridge",
        "ip address add 10.244.0.1/24 dev cni0",
        "ip link set cni0 up",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=2",
    )


def host_gw(run):
    """Make flannel's routes of the backend host-gw."""
    bridge(run)
    make(run, *(f"ip route add {peer.node_cidr} via {peer.underlay} dev eth0" for peer in PEERS[1:]))


def vxlan(run, direct=0):
    """Make flannel's objects of the backend vxlan; with DirectRouting for some peers."""
    bridge(run)
    make(
        run,
        "ip link add flannel.1 address 7a:11:22:33:44:00 mtu 1450 type vxlan id 1 local 10.0.1.11 dstport 8472",
        "ip link set flannel.1 type vxlan nolearning",
        "ip address add 10.244.0.0/32 dev flannel.1",
        "ip link set flannel.1 up",
    )
    for number, peer in enumerate(PEERS[1:]):
        vtep, mac = peer.node_cidr.partition("/")[0], f"7a:11:22:33:44:{number + 1:02x}"
        if number < direct:
            make(run, f"ip route add {peer.node_cidr} via {peer.underlay} dev eth0")
            continue
        make(
            run,
            f"ip neigh add {vtep} lladdr {mac} dev flannel.1 nud permanent",
            f"bridge fdb add {mac} dev flannel.1 dst {peer.underlay}",
            f"ip route add {peer.node_cidr} via {vtep} dev flannel.1 onlink",
        )


STATES = {"host-gw": host_gw, "vxlan": vxlan, "DirectRouting": lambda run: vxlan(run, direct=2)}
LINKS = {"host-gw": ["eth0"], "vxlan": ["flannel.1"], "DirectRouting": ["eth0", "flannel.1"]}


@pytest.fixture(params=STATES)
def backend(request, run):
    STATES[request.param](run)
    return request.param


def ways(run):
    """Return the link of the route to each node CIDR of a peer."""
    rows = json.loads(run(["ip", "-json", "route", "show", "table", "main"])[1])
    wanted = {peer.node_cidr for peer in PEERS[1:]}
    return {row["dst"]: row["dev"] for row in rows if row["dst"] in wanted}


def inside(run):
    """Return the links by which the rules let packets of Pods pass."""
    listing = run(["nft", "list", "chain", "inet", "tke_overlay", "postrouting"])[1]
    return [name for name in ("cni0", "eth0", "flannel.1", "tke0") if f'"{name}"' in listing]


def test_the_routes_of_flannel_are_an_error_with_the_remedy(run, backend):
    before = everything(run)
    with pytest.raises(ValidationError) as caught:
        node.converge(OTHER_VNI, run, check=False)
    assert everything(run) == before
    assert len(caught.value.problems) == len(PEERS[1:])
    assert ["overlay_remove_flannel=true" in problem for problem in caught.value.problems] == [True] * 5


def test_other_foreign_routes_stay_an_error(run):
    host_gw(run)
    make(run, "ip route add 10.244.77.0/24 via 10.0.1.101", "ip route replace 10.244.2.0/24 via 10.0.1.101")
    with pytest.raises(ValidationError) as caught:
        node.converge(OTHER_VNI, run, check=False, options=REPLACE)
    assert [problem.split()[3] for problem in caught.value.problems] == ["10.244.2.0/24", "10.244.77.0/24"]
    assert "overlay_remove_flannel" not in str(caught.value)


def test_a_strict_reverse_path_filter_is_an_error(run):
    host_gw(run)
    make(run, "sysctl -qw net.ipv4.conf.eth0.rp_filter=1")
    with pytest.raises(ValidationError, match=r"net\.ipv4\.conf\.eth0\.rp_filter=2"):
        node.converge(OTHER_VNI, run, check=True, options=PREPARE)


def test_routes_change_in_cutover_and_both_pass_until_finalize(run, backend):
    before = ways(run)
    forecast = node.converge(OTHER_VNI, run, check=True, options=PREPARE)
    prepared = node.converge(OTHER_VNI, run, check=False, options=PREPARE)
    assert prepared.unfinished
    assert list(prepared.diffs()) == list(forecast.diffs())
    assert len(prepared.tables["route"].changed) == len(PEERS[1:])
    assert ways(run) == before
    assert "UP" in run(["ip", "link", "show", "tke0"])[1]
    assert inside(run) == sorted(["cni0", "tke0", *LINKS[backend]])
    assert node.converge(OTHER_VNI, run, check=False, options=PREPARE).unfinished, "the phase can be repeated"
    assert not node.converge(OTHER_VNI, run, check=False, options=CUTOVER).unfinished
    assert set(ways(run).values()) == {"tke0"}
    assert inside(run) == sorted(["cni0", "tke0", *LINKS[backend]])
    node.converge(OTHER_VNI, run, check=False, options=REPLACE)
    assert inside(run) == ["cni0", "tke0"]
    assert not node.converge(OTHER_VNI, run, check=False, options=PREPARE).changed


def test_a_failed_cutover_restores_the_routes_of_flannel(run, backend):
    node.converge(OTHER_VNI, run, check=False, options=PREPARE)
    before = everything(run)

    def run_badly(command, text=None):
        if "proto" in command:
            return run(["true"]) if set(ways(run).values()) == {"tke0"} else run(command, text)
        return run(command, text)

    with pytest.raises(KernelError, match="the host is as it was before"):
        node.converge(OTHER_VNI, run_badly, check=False, options=CUTOVER)
    assert everything(run) == before


def left_by_flannel(run, root, policy="accept"):
    """Add what flannel leaves beside its routes, and two Pods."""
    assert run(["nft", "-f", "-"], RULES.replace("POLICY", policy))[0] == 0
    files.write_file("/etc/cni/net.d/10-flannel.conflist", json.dumps(CNI))
    files.write_file("/run/flannel/subnet.env", SUBNET_ENV)
    for address, text in {
        "10.244.0.7": "abc\r\neth0",
        "10.244.0.8": "def\r\neth0",
        "10.99.0.1": "x",
        "lock": "",
    }.items():
        files.write_file(f"/var/lib/cni/networks/cbr0/{address}", text)
    files.write_file("/var/lib/cni/networks/tke-overlay/10.244.0.8", "new\r\neth0")


def test_leftovers_are_removed_after_the_addresses_are_kept(run, root):
    vxlan(run)
    left_by_flannel(run, root)
    with pytest.raises(ValidationError, match=r"tke\.overlay\.site"):
        remove_leftovers(saved_node(), run, check=False)
    node.converge(OTHER_VNI, run, check=False, options=REPLACE)
    named = [
        "link flannel.1",
        "chain FLANNEL-FWD of the nftables table ip filter",
        "chain FLANNEL-POSTRTG of the nftables table ip nat",
        "nftables table ip flannel-ipv4",
        "file /etc/cni/net.d/10-flannel.conflist",
        "file /run/flannel/subnet.env",
    ]
    before = everything(run)
    forecast = remove_leftovers(saved_node(), run, check=True)
    assert everything(run) == before
    assert forecast.named() == named
    done = remove_leftovers(saved_node(), run, check=False)
    assert list(done.diffs()) == list(forecast.diffs())
    assert list(done.addresses) == ["/var/lib/cni/networks/tke-overlay/10.244.0.7"]
    copies = root / "var/lib/cni/networks/tke-overlay"
    assert (copies / "10.244.0.7").read_bytes() == b"abc\r\neth0"
    assert (copies / "10.244.0.8").read_bytes() == b"new\r\neth0"
    listing = run(["nft", "list", "ruleset"])[1]
    assert [word for word in ("FLANNEL", "flannel") if word in listing] == []
    assert 'comment "of somebody else"' in listing
    assert set(ways(run).values()) == {"tke0"}
    again = remove_leftovers(saved_node(), run, check=False)
    assert (again.named(), again.addresses) == ([], {})


def test_leftovers_are_named_with_the_remedy(run, root):
    vxlan(run)
    left_by_flannel(run, root)
    node.converge(OTHER_VNI, run, check=False, options=REPLACE)
    found = {each.severity: each for each in pod_findings(saved_network(), run) if each.check == "flannel"}
    assert sorted(found) == [BAD, NOTE], "its CNI file wins, so new Pods are not in the overlay"
    assert "10-flannel.conflist sorts before" in found[BAD].text
    assert "link flannel.1" in found[NOTE].text
    assert ["overlay_remove_flannel=true" in each.remedy for each in found.values()] == [True, True]
    remove_leftovers(saved_node(), run, check=False)
    assert [each for each in pod_findings(saved_network(), run) if each.check == "flannel"] == []


def test_a_chain_that_a_closed_firewall_needs_stays(run, root):
    host_gw(run)
    left_by_flannel(run, root, policy="drop")
    node.converge(OTHER_VNI, run, check=False, options=REPLACE)
    done = remove_leftovers(saved_node(), run, check=False)
    assert "FLANNEL-FWD" not in " ".join(done.named())
    (warning,) = done.warnings
    assert "FLANNEL-FWD" in warning
    assert "jump FLANNEL-FWD" in run(["nft", "list", "ruleset"])[1]
    assert find_leftovers(saved_node(), run).named() == []


def test_the_device_of_flannel_stays_where_the_overlay_uses_it(run, root):
    vxlan(run)
    node.converge(document(device="flannel.1", bridge="cni0"), run, check=False, options=REPLACE)
    assert find_leftovers(saved_node(), run).links == []


def test_the_plugin_of_flannel_in_another_network_name(run, root):
    host_gw(run)
    left_by_flannel(run, root)
    files.write_file("/etc/cni/net.d/10-flannel.conflist", json.dumps({**CNI, "name": "podnet"}))
    shutil.move(root / "var/lib/cni/networks/cbr0", root / "var/lib/cni/networks/podnet")
    node.converge(OTHER_VNI, run, check=False, options=REPLACE)
    assert list(remove_leftovers(saved_node(), run, check=False).addresses) == [
        "/var/lib/cni/networks/tke-overlay/10.244.0.7"
    ]
