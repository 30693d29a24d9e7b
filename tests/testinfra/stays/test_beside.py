# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""On one node, the real ones of what may live beside us: Docker, firewalld, nftables.service, network managers.

kube-proxy is there by the rules that it writes, loaded by the real iptables; with every detail of that, and with both
kinds of iptables, see tests/kernel/test_foreign_programs.py.
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
client.settimeout(5)
client.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
print(client.recv(100).decode())
"""
FIREWALLD_READY = "timeout 20 sh -c 'until firewall-cmd --quiet --state; do sleep 0.1; done'"
"""systemd takes it for started before its rules are loaded."""


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def pod(name):
    return json.loads(on(name, "lab-pod list"))["pod-1"]


def reached():
    """Whether Pods of the node and of the other site reach each other, either way, with full packets."""
    pairs = {NODE: pod(OTHER), OTHER: pod(NODE)}
    answers = [
        on(name, f"ip netns exec pod-1 ping -c 1 -W 1 -M do -s 1372 {target} || true") for name, target in pairs.items()
    ]
    return ["1 received" in answer for answer in answers] == [True, True]


def whole():
    """Whether nothing of ours is missing: the script says nothing."""
    return on(NODE, "sh /etc/tke-overlay/restore") == ""


def run_site():
    """The site playbook on the node: what was changed, and what it warned of, on one line."""
    done = play("tke.overlay.site", "--limit", NODE)
    assert done.code == 0, done.text
    return done.changed(), joined(done.text)


def advised(text):
    """The commands of a warning, which are to be run as they stand there."""
    return re.search(r"To open it: (.*? ACCEPT && .*? ACCEPT|.*?--reload)", text)[1]


@pytest.fixture(scope="module", autouse=True)
def node_as_before():
    """Whatever was started is gone after a reboot; what it has written is taken away, too."""
    yield
    on(
        NODE,
        "rm -rf /etc/docker /etc/firewalld/zones/* /etc/systemd/network/99-all.network /etc/NetworkManager/conf.d/0*",
    )
    on(NODE, "systemctl --quiet disable systemd-networkd")
    lab("reboot", NODE)
    on(NODE, "sh /etc/tke-overlay/restore; lab-pod sync pod-1 pod-2")
    run_site()


def test_docker_that_came_first_has_closed_forwarding_which_is_told_with_the_cure():
    on(NODE, "sysctl -qw net.ipv4.ip_forward=0; systemctl start docker")
    assert "-P FORWARD DROP" in on(NODE, "iptables -S FORWARD")
    assert not reached(), "what one table drops, no other can let pass"
    _changed, text = run_site()
    assert "chain FORWARD of the nftables table ip filter forwards only what it names" in text
    on(NODE, advised(text))
    assert reached()
    changed, text = run_site()
    assert changed == set()
    assert "forwards nothing" not in text
    on(NODE, "systemctl restart docker")
    assert reached()
    assert whole()


def test_docker_that_comes_after_us_leaves_forwarding_open():
    """We have turned it on already, at boot before Docker: so it does not set the policy."""
    on(NODE, "systemctl stop docker docker.socket; nft delete table ip filter; systemctl start docker")
    assert "-P FORWARD ACCEPT" in on(NODE, "iptables -S FORWARD")
    assert reached()
    assert whole()
    on(NODE, "systemctl stop docker docker.socket containerd")


def service(target):
    """What kube-proxy loads for one Service with a NodePort and one endpoint."""
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


def test_a_service_of_kube_proxy_leads_to_a_pod_of_the_other_site_from_everywhere():
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
    assert whole()


def test_firewalld_is_told_of_and_once_it_knows_us_its_reloads_do_no_harm():
    on(NODE, f"systemctl start firewalld; {FIREWALLD_READY}")
    assert not reached()
    changed, text = run_site()
    assert changed == set()
    on(NODE, advised(text))
    assert reached()
    for verb in ("firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"):
        on(NODE, f"{verb}; {FIREWALLD_READY}")
        assert reached(), verb
        assert whole(), verb
    on(NODE, "systemctl stop firewalld")
    assert reached()
    assert whole()


def test_what_flushes_all_rules_takes_ours_too_and_the_timer_brings_them_back():
    on(NODE, "systemctl restart nftables")
    assert "tke_overlay" not in on(NODE, "nft list tables")
    assert "restored: rules: missing" in on(NODE, "sh /etc/tke-overlay/restore")
    assert reached()
    on(NODE, "systemctl stop nftables; sh /etc/tke-overlay/restore")


def test_network_managers_leave_alone_what_is_ours():
    """Both at once, each told to take every link that begins as ours do. That Pods' links are not for
    NetworkManager says a rule of udev's, which does not run in the lab."""
    on(
        NODE,
        "printf '[Match]\\nName=tke*\\n[Network]\\nLinkLocalAddressing=no\\nAddress=192.0.2.9/32\\n' "
        "> /etc/systemd/network/99-all.network; "
        "printf '[main]\\nno-auto-default=*\\n[keyfile]\\nunmanaged-devices=interface-name:veth*\\n' "
        "> /etc/NetworkManager/conf.d/05-lab.conf; "
        "systemctl --quiet enable --now systemd-networkd 2>&1; systemctl start NetworkManager",
    )
    assert NODE in run_site()[0]
    for verb in ("true", "networkctl reconfigure tke0", "systemctl restart systemd-networkd NetworkManager"):
        on(NODE, verb)
        deadline = time.monotonic() + 10
        while managed() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not managed(), verb
        assert "192.0.2.9" not in on(NODE, "ip -brief address"), verb
        assert whole(), verb
    assert reached()
    on(NODE, "systemctl stop NetworkManager systemd-networkd.socket systemd-networkd")


def managed():
    """Those of our links that a manager says it manages, or has not said yet that it does not."""
    networkd = dict(line.split()[1::3] for line in on(NODE, "networkctl --no-legend --no-pager list").splitlines())
    network_manager = dict(line.split(":") for line in on(NODE, "nmcli -t -f DEVICE,STATE device").splitlines())
    states = [manager.get(link) for manager in (networkd, network_manager) for link in ("tke0", "tke-br0")]
    return [state for state in states if state != "unmanaged"]
