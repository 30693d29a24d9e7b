# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Other programs on a node: Docker, firewalld, nftables.service and network managers.

kube-proxy does not run; iptables loads rules such as those of kube-proxy. tests/kernel/test_foreign_programs.py has all
details, with both kinds of iptables.
"""

from __future__ import annotations

import json
import re
import time

import pytest

from stories import joined, lab, play

testinfra_hosts = ["local://"]

NODE, OTHER, OUTSIDE = "cloud1", "idc1", "api1"
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 53))
while True:
    data, source = server.recvfrom(100)
    server.sendto(source[0].encode(), source)
"""
ASK = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(float(sys.argv[3]) if len(sys.argv) > 3 else 5)
client.connect((sys.argv[1], int(sys.argv[2])))  # an answer from another address is no answer
client.send(b"?")
print(client.recv(100).decode())
"""
FIREWALLD_READY = "timeout 20 sh -c 'until firewall-cmd --quiet --state; do sleep 0.1; done'"
"""For systemd, firewalld is started before its rules are loaded."""


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def pod(name, which="pod-1"):
    return json.loads(on(name, "lab-pod list"))[which]


def reached():
    """Return whether Pods of the node and of the other site reach each other in both directions, with full packets."""
    pairs = {NODE: pod(OTHER), OTHER: pod(NODE)}
    answers = [
        on(name, f"ip netns exec pod-1 ping -c 1 -W 1 -M do -s 1372 {target} || true") for name, target in pairs.items()
    ]
    return ["1 received" in answer for answer in answers] == [True, True]


def intact():
    """Return whether the restore script finds nothing to restore, and so prints nothing."""
    return on(NODE, "sh /etc/tke-overlay/restore") == ""


def run_site():
    """Run the site playbook on the node; return the changed hosts, and its output on one line."""
    done = play("tke.overlay.site", "--limit", NODE)
    assert done.code == 0, done.text
    return done.changed(), joined(done.text)


def advised(text):
    """Return the commands that a warning recommends."""
    return re.search(r"To open it: (.*? ACCEPT && .*? ACCEPT|.*?--reload)", text)[1]


@pytest.fixture(scope="module", autouse=True)
def node_as_before():
    """Remove the files of the other programs, and reboot the node, after all tests."""
    yield
    on(
        NODE,
        "rm -rf /etc/docker /etc/firewalld/zones/* /etc/systemd/network/0[1-9]-*.network",
    )
    on(NODE, "systemctl --quiet disable systemd-networkd")
    lab("reboot", NODE)
    on(NODE, "sh /etc/tke-overlay/restore; lab-pod sync pod-1 pod-2")
    run_site()


def test_warns_and_helps_when_docker_has_closed_forwarding():
    on(NODE, "sysctl -qw net.ipv4.ip_forward=0; systemctl start docker")
    assert "-P FORWARD DROP" in on(NODE, "iptables -S FORWARD")
    assert not reached(), "a packet that one table drops cannot be accepted by another one"
    _changed, text = run_site()
    assert "chain FORWARD of the nftables table ip filter forwards only what it names" in text
    on(NODE, advised(text))
    assert reached()
    changed, text = run_site()
    assert changed == set()
    assert "forwards only what it names" not in text
    on(NODE, "systemctl restart docker")
    assert reached()
    assert intact()


def test_docker_that_starts_later_leaves_forwarding_open():
    """Docker sets the policy only if it enables forwarding itself; the collection enables it before, at boot."""
    on(NODE, "systemctl stop docker docker.socket; nft delete table ip filter; systemctl start docker")
    assert "-P FORWARD ACCEPT" in on(NODE, "iptables -S FORWARD")
    assert reached()
    assert intact()
    on(NODE, "systemctl stop docker docker.socket containerd")


def service(target):
    """Return the rules that kube-proxy loads for one Service with a NodePort and one endpoint."""
    return f"""*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-ECHO - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -p udp -d 10.244.255.10 --dport 53 -j KUBE-SVC-ECHO
-A KUBE-SERVICES -p udp -m addrtype --dst-type LOCAL --dport 30053 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -p udp -m addrtype --dst-type LOCAL --dport 30053 -j KUBE-SVC-ECHO
-A KUBE-SVC-ECHO -p udp ! -s 10.244.0.0/16 -d 10.244.255.10 -j KUBE-MARK-MASQ
-A KUBE-SVC-ECHO -p udp -j DNAT --to-destination {target}:53
COMMIT
"""


def test_a_service_reaches_a_pod_of_the_other_site():
    on(OTHER, f"systemd-run --quiet --unit echo ip netns exec pod-1 python3 -c '{ECHO}'")
    on(NODE, f"echo '{service(pod(OTHER))}' | iptables-restore --noflush")
    vtep = on(NODE, "sed -n 's,^address=\\(.*\\)/32,\\1,p' /etc/tke-overlay/settings").strip()
    try:
        assert on(OUTSIDE, f"python3 -c '{ASK}' 10.0.1.11 30053").strip() == vtep, "a NodePort, masqueraded"
        assert on(NODE, f"python3 -c '{ASK}' 10.244.255.10 53").strip() == vtep, "from the node"
        inside = on(NODE, f"ip netns exec pod-1 python3 -c '{ASK}' 10.244.255.10 53")
        assert inside.strip() == pod(NODE), "from a Pod, under its own address"
    finally:
        on(OTHER, "systemctl stop echo")
        on(NODE, "iptables -t nat -F; iptables -t nat -X")
    assert intact()


def test_warns_of_firewalld_and_survives_its_reloads():
    on(NODE, f"systemctl start firewalld; {FIREWALLD_READY}")
    assert not reached()
    changed, text = run_site()
    assert changed == set()
    on(NODE, advised(text))
    assert reached()
    for verb in ("firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"):
        on(NODE, f"{verb}; {FIREWALLD_READY}")
        assert reached(), verb
        assert intact(), verb
    on(NODE, "systemctl stop firewalld")
    assert reached()
    assert intact()


def test_restores_the_rules_after_a_flush_of_all_rules():
    on(NODE, "systemctl restart nftables")
    assert "tke_overlay" not in on(NODE, "nft list tables")
    assert "restored: rules: missing" in on(NODE, "sh /etc/tke-overlay/restore")
    assert reached()
    on(NODE, "systemctl stop nftables; sh /etc/tke-overlay/restore")


def test_a_service_reaches_a_pod_of_the_same_node():
    """The answer crosses only the bridge, and must pass the address translation: that needs br_netfilter."""
    other = pod(NODE, "pod-2")
    on(NODE, f"systemd-run --quiet --unit echo ip netns exec pod-2 python3 -c '{ECHO}'")
    on(NODE, f"echo '{service(other)}' | iptables-restore --noflush; sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    ask = f"ip netns exec pod-1 python3 -c '{ASK}' 10.244.255.10 53 1 2>&1 || true"
    try:
        assert "timed out" in on(NODE, ask)
        assert "bridge-nf-call-iptables: was 0" in on(NODE, "sh /etc/tke-overlay/restore")
        assert on(NODE, ask).strip() == pod(NODE)
    finally:
        on(NODE, "systemctl stop echo; iptables -t nat -F; iptables -t nat -X")
    assert intact()


def test_network_managers_leave_overlay_and_pods_alone():
    """Both managers start after the node was made, and networkd has a file that matches every link."""
    before = links()
    assert before[1], "Pods run"
    on(
        NODE,
        "printf '[Match]\\nName=eth*\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/01-lab.network; "
        "printf '[Match]\\nName=*\\n[Network]\\nDHCP=yes\\nAddress=192.0.2.9/32\\n' "
        "> /etc/systemd/network/02-all.network; "
        "systemctl --quiet enable --now systemd-networkd 2>&1; systemctl start NetworkManager",
    )
    reconfigure = "networkctl reconfigure tke0 tke-br0 $(ls /sys/class/net | grep ^veth)"
    for verb in ("true", "networkctl reload", reconfigure, "systemctl restart systemd-networkd NetworkManager"):
        on(NODE, verb)
        deadline = time.monotonic() + 10
        while managed() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not managed(), verb
        assert links() == before, verb
        assert intact(), verb
    on(NODE, "lab-pod del pod-2; lab-pod add pod-2")
    assert len(links()[1]) == len(before[1]), "a Pod that starts while networkd runs"
    assert reached()
    assert NODE not in run_site()[0]


def test_pods_come_back_to_the_bridge_from_a_network_manager():
    """Our file is lost, so networkd takes the gateway and the Pods off the bridge; then it is stopped."""
    before = links()
    on(NODE, "rm /etc/systemd/network/00-tke-overlay.network; networkctl reload; sleep 1; ip address flush dev tke-br0")
    assert links() == (set(), set())
    assert not reached()
    text = on(NODE, "sh /etc/tke-overlay/restore")
    assert "bridge tke-br0: missing 10.244." in text
    assert "missing ports: 2, such as veth" in text
    assert links() == before
    assert reached()
    on(NODE, "networkctl reload; networkctl reconfigure $(ls /sys/class/net | grep ^veth); sleep 1")
    assert links()[1] == set()
    changed, _text = run_site()
    assert NODE in changed
    assert links() == before
    assert reached()
    on(NODE, "networkctl reload; sleep 1")
    assert links() == before
    assert intact()
    on(NODE, "systemctl stop NetworkManager systemd-networkd.socket systemd-networkd")


def links():
    """Return the addresses of the Pod bridge in the container CIDR, and its ports."""
    rows = json.loads(on(NODE, "ip -json address show"))
    addresses = {info["local"] for row in rows if row["ifname"] == "tke-br0" for info in row["addr_info"]}
    ports = {row["ifname"] for row in rows if row.get("master") == "tke-br0"}
    return {address for address in addresses if address.startswith("10.244.")}, ports


def managed():
    """Return the links of overlay and Pods that a manager does not report as unmanaged."""
    networkd = dict(line.split()[1::3] for line in on(NODE, "networkctl --no-legend --no-pager list").splitlines())
    network_manager = dict(line.split(":") for line in on(NODE, "nmcli -t -f DEVICE,STATE device").splitlines())
    own = [link for link in networkd if link.startswith(("tke", "veth"))]
    return [link for manager in (networkd, network_manager) for link in own if manager.get(link) != "unmanaged"]
