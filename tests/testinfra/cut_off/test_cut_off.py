# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A change that cuts a host off from its controller or its API endpoint is rolled back, and the play reports it.

tests/kernel/test_confirmed_commit.py tests the parts one by one.
"""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from stories import (
    NODES,
    PAIR,
    ROOT,
    at_once,
    begin,
    ended,
    joined,
    lab,
    ledger,
    matrix,
    on,
    play,
    site,
    state,
    states,
    until,
)

testinfra_hosts = ["local://"]

CHANGED = str(ROOT / "molecule/cut_off/changed.yml")
PENDING = "/run/tke-overlay/pending"
CONTROLLER_AS_POD = {"container_cidr": ["10.244.0.0/16", "198.18.0.0/24"]}
"""With it, a host drops every packet of the lab's controller, because its source is an address of a container CIDR."""

ENDPOINT_PORT = 6443


def arguments(seconds, changes, **variables):
    """Return arguments of a play in which some hosts get another plan."""
    each = {"overlay_confirm_timeout": seconds, "cut_off_changes": changes, **variables}
    return ("-e", json.dumps(each))


def lasting(lines):
    """Return a host's state without the indexes of devices."""
    return {re.sub(r'"(ifindex|link_index)": \d+, ', "", line) for line in lines}


def message(done, name):
    """Return the message of the play about a host that failed."""
    (text,) = re.findall(rf"^fatal: \[{name}\]: FAILED! => *\n((?:    .*\n)+)", done.text, re.MULTILINE)
    return joined(text)


@pytest.fixture(scope="class")
def story():
    """Return the state of all hosts before the play, the play, and the state after it."""
    play("tke.overlay.reset", "-e", "overlay_reset=cloud2", "-e", "overlay_reset_confirmed=true")
    before = states()
    # A firewall that accepts no new connection while the change is pending.
    hook = "{ type filter hook input priority 0 ; }"
    wall = (
        f"nft add table inet wall; nft add chain inet wall c '{hook}'; nft add rule inet wall c tcp dport 22 ct state "
        f"new drop; while [ -d {PENDING} ]; do sleep 0.1; done; nft delete table inet wall"
    )
    on("idc2", f'systemd-run -q --unit=wall --path-property=PathExists={PENDING} sh -c "{wall}"')
    changes = {"idc1": CONTROLLER_AS_POD, "cloud2": CONTROLLER_AS_POD, "idc2": {"mtu": 1300}, "cloud1": {"mtu": 1380}}
    impatient = {"cloud2": "-o ServerAliveInterval=1 -o ServerAliveCountMax=2"}
    try:
        done = play(CHANGED, *arguments(8, changes, cut_off_ssh=impatient))
        on("idc2", "systemctl stop wall.path")
        yield before, done, states()
    finally:
        site()


class TestCutOffFromTheController:
    """One play: three hosts are cut off from their controller, each in another way, and one converges."""

    def test_other_hosts_converge(self, story):
        _before, done, after = story
        assert done.code != 0
        assert done.changed() == {"cloud1"}
        recap = done.recap()
        assert {name: recap[name]["failed"] for name in NODES} == {"cloud1": 0, "cloud2": 1, "idc1": 1, "idc2": 1}
        assert not any(counts["unreachable"] for counts in recap.values()), "the play knows the outcome on each host"
        assert any('"mtu": 1380' in line and "tke0" in line for line in after["cloud1"])

    @pytest.mark.parametrize("name", ["idc1", "idc2", "clb1", "clb2", "api1"])
    def test_host_that_was_cut_off_is_as_before(self, story, name):
        before, _done, after = story
        assert after[name] == before[name]

    def test_rollback_leaves_nothing_on_a_host_that_was_no_node(self, story):
        before, _done, after = story
        assert after["cloud2"] == before["cloud2"]
        assert not any("tke0" in line or "tke_overlay" in line or "tke-overlay" in line for line in after["cloud2"])
        left = on("cloud2", "find /run /etc -name '*tke-overlay*' -type f; ls /run/tke-overlay").split()
        # The echo responder of an earlier scenario, and the compiled code of the modules, are no part of the change.
        assert [name for name in left if name not in ("echo-responder", "compiled")] == ["lock", "rolled-back"]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("idc1", "the change cut the host off from the controller for too long"),
            ("idc2", "every new connection failed"),
            ("cloud2", "the connection broke during the change"),
        ],
    )
    def test_play_reports_reason_outcome_and_remedy(self, story, name, words):
        text = message(story[1], name)
        assert words in text
        assert "the change was rolled back, and the host is as it was before" in text
        assert "Check what in the plan lies between the controller and the host" in text
        assert "rolled_back: true" in text
        assert "tke-overlay: rolled a change back" in on(name, "journalctl -q -o cat -u tke-overlay-rollback.service")


@pytest.fixture
def endpoint():
    """Start an API endpoint for the IDC hosts at a cloud node's VTEP address: only the overlay leads to it."""
    address = ledger()["nodes"]["cloud1"]["node_cidr"].partition("/")[0]
    on("cloud1", f"systemd-run -q --unit=endpoint python3 -m http.server {ENDPOINT_PORT}")
    until("cloud1", f"ss -Hltn sport = :{ENDPOINT_PORT} | grep -q .", 10)
    for name in ("idc1", "idc2"):
        on(name, f"echo {address}:{ENDPOINT_PORT} >/etc/tke-overlay/api-endpoint")
    yield f"{address}:{ENDPOINT_PORT}"
    on("cloud1", "systemctl stop endpoint")
    for name in ("idc1", "idc2"):
        on(name, "rm /etc/tke-overlay/api-endpoint")


def test_rolls_back_a_port_that_the_router_between_sites_blocks(endpoint):
    """The cloud nodes change while the change of the IDC nodes is pending: only the router can block the port."""
    before, port = states(NODES), {"port": 4789}
    idc = begin(CHANGED, "--limit", "idc", *arguments(12, {"idc1": port, "idc2": port}))
    for name in ("idc1", "idc2"):
        until(name, "ip -d link show tke0 2>/dev/null | grep -q 'dstport 4789'", 20)
    assert play(CHANGED, "--limit", "cloud", *arguments(12, {"cloud1": port, "cloud2": port})).code == 0
    done = ended(idc)
    after = states(NODES)
    for name in ("idc1", "idc2"):
        text = message(done, name)
        assert f"cut this host off from its API endpoint: {endpoint}" in text
        assert "the change was rolled back, and the host is as it was before" in text
        assert lasting(after[name]) == lasting(before[name])
        assert any('"port": 8472' in line for line in after[name])
    assert site().changed() == {"cloud1", "cloud2"}
    assert all(pair["full"] for pair in matrix())


def test_rejects_an_underlay_address_on_no_link_before_a_change():
    before = states(NODES)
    fleet = {
        "schema": 1,
        "fleet": "".join(
            f"{name} {entry['node_cidr']} {'192.168.1.99' if name == 'idc1' else entry['underlay']}\n"
            for name, entry in ledger()["nodes"].items()
        ),
    }
    done = play(CHANGED, *arguments(5, {"idc1": fleet}))
    assert done.changed() == set()
    words = "underlay address 192.168.1.99 (overlay_underlay_ip) is not an address of this host, which has"
    assert words in message(done, "idc1")
    assert "192.168.1.11" in message(done, "idc1").partition(words)[2]
    assert states(NODES) == before


def test_rolls_back_after_the_controller_dies_and_at_a_reboot():
    before = states(NODES)
    slow = begin(
        CHANGED, "--limit", "cloud1,idc1", *arguments(600, {"cloud1": CONTROLLER_AS_POD, "idc1": CONTROLLER_AS_POD})
    )
    quick = begin(CHANGED, "--limit", "idc2", *arguments(4, {"idc2": CONTROLLER_AS_POD}))
    for name in ("idc1", "cloud1", "idc2"):
        until(name, f"[ -e {PENDING}/deadline ] && nft list table inet tke_overlay | grep -q 198.18.0.0", 20)
    for controller in (slow, quick):
        os.killpg(controller.pid, signal.SIGKILL)
        controller.communicate()
    until("idc2", f"[ ! -e {PENDING} ]", 10)
    assert state("idc2") == before["idc2"]

    # The restore script leaves the pending change alone.
    on("idc1", "systemctl start tke-overlay.service; nft list table inet tke_overlay | grep -q 198.18.0.0")
    lab("reboot", "idc1", "cloud1")
    for name in ("idc1", "cloud1"):
        until(name, "ip route show proto 144 | grep -q tke0", 20)
        on(name, "lab-pod sync pod-1 pod-2")
        assert not any("198.18.0.0" in line for line in state(name))
        assert lasting(line for line in state(name) if line.startswith("/")) == lasting(
            line for line in before[name] if line.startswith("/")
        )
    assert site().changed() == set()
    assert all(pair["full"] for pair in matrix())


@pytest.fixture
def operator():
    """Create a user on the hosts who becomes root with a password."""
    for name in (*NODES, *PAIR):
        on(
            name,
            "useradd --create-home ops && echo ops:secret | chpasswd && "
            "echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/ops && "
            "cp -r /root/.ssh /home/ops/ && chown -R ops: /home/ops/.ssh",
        )
    yield {"ansible_user": "ops", "ansible_become": True, "ansible_become_password": "secret"}
    for name in (*NODES, *PAIR):
        # A connection that Ansible keeps open belongs to this user as well.
        on(name, "rm /etc/sudoers.d/ops; pkill -KILL -u ops; userdel --force --remove ops 2>/dev/null")


def test_confirms_and_rolls_back_for_an_operator_with_sudo(operator):
    """With sudo, Ansible requests a terminal, on which a module's output and its errors are one stream."""
    on("idc1", "ip link del tke0")
    user = json.dumps({**operator, "ansible_pipelining": False})
    assert site("-e", user).changed() == {"idc1"}
    for done in at_once(*((f"tke.overlay.{playbook}", "-e", user) for playbook in ("verify", "status"))):
        assert done.code == 0, done.text
    before = states(NODES)
    done = play(CHANGED, "--limit", "idc1", "-e", user, *arguments(5, {"idc1": CONTROLLER_AS_POD}))
    text = message(done, "idc1")
    assert "the change cut the host off from the controller" in text
    assert "the change was rolled back, and the host is as it was before" in text
    assert states(NODES) == before
    without = json.dumps({**operator, "ansible_become": False})
    done = play("tke.overlay.site", "--limit", "idc1", "-e", without)
    assert "only root can change the tables of the kernel" in message(done, "idc1")
