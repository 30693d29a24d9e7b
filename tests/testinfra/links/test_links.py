# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Sites and links on real hosts: docs/links.md, with a direct site, two lines of WireGuard, and a site behind NAT.

The tests run in their order: each starts in the state that the one before it has left.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading

import pytest
from linked import (
    FLEET,
    OFFERED,
    answered_mtu,
    linked_site,
    links,
    never_in_clear,
    node_cidr,
    offering,
    on_all,
    pinged,
    pod_of,
    route,
)
from wire import Wire

from day_two import nothing_lost
from stories import LAB_STATE, LEDGER, QUICKLY, joined, lab, ledger, on, play, states, until
from tkelab import net

testinfra_hosts = ["local://"]

HOSTS = ("cloud1", "cloud2", "idc1", "idc2", "branch1", "branch2")
DEVICES = {"direct": "eth0", "vxlan": "tke0", "wireguard": "tke-wg0"}

# One host of each site as the source, another host as the target: transport and MTU of the link. The line to the data
# centre carries 1450 bytes, those to the branch 1380; inside a site, it is what the hosts carry.
PAIRS = {
    ("cloud1", "cloud2"): ("direct", 1500),
    ("branch1", "branch2"): ("direct", 1500),
    ("idc1", "idc2"): ("vxlan", 1400),
    ("cloud1", "idc1"): ("wireguard", 1376),
    ("cloud2", "branch1"): ("wireguard", 1312),
    ("idc2", "branch2"): ("wireguard", 1312),
}
BOTH_WAYS = {ways: expected for pair, expected in PAIRS.items() for ways in (pair, pair[::-1])}
# The links of inventories/lab_links, with others for those that change.
BRANCH = (("direct", "branch"), ("wireguard", "cloud", "branch", "1380"), ("wireguard", "idc", "branch", "1380"))
KEYS = "cat /etc/tke-overlay/*.key"


@pytest.fixture(scope="module", autouse=True)
def no_fragment_is_lost_on_a_line():
    before = net.fragments()
    yield
    assert net.fragments() == before, "a line dropped fragments: packets were larger than it carries"


def ask(playbook, *arguments):
    return play(playbook, *arguments, inventories=FLEET)


def unreachable():
    """Return, by host, the Pods of other hosts that a Pod does not reach."""
    pods = {name: json.loads(text)["pod-1"] for name, text in on_all(HOSTS, "lab-pod list").items()}
    ping = "ip netns exec pod-1 ping -nqc 1 -W 3 $address >/dev/null || echo $address"
    failed = on_all(HOSTS, f"for address in {' '.join(pods.values())}; do {ping} & done; wait")
    return {name: text.split() for name, text in failed.items() if text}


# --- an inventory ---


def test_routes_follow_the_transports_of_the_inventory():
    for (name, other), (transport, mtu) in BOTH_WAYS.items():
        found = route(name, other)
        assert found["dev"] == DEVICES[transport], (name, other)
        assert (found["mtu"] or 0) in (0, mtu), (name, other)
    held = ledger()["nodes"]
    assert {name: held[name]["site"] for name in HOSTS} == {name: name[:-1] for name in HOSTS}
    assert len({held[name]["wireguard_key"] for name in HOSTS}) == len(HOSTS)
    assert unreachable() == {}


def test_a_second_run_changes_nothing():
    assert linked_site().changed() == set()


def test_hosts_behind_nat_call_their_peers():
    text = on("branch1", "wg show tke-wg0 dump").splitlines()[1:]
    assert len(text) == 4, "a peer for each host of the two other sites"
    assert {line.split("\t")[7] for line in text} == {"25"}
    seen = [line.split("\t") for line in on("cloud1", "wg show tke-wg0 dump").splitlines()[1:]]
    outer = {fields[2].rpartition(":")[0] for fields in seen if fields[4] != "0"}
    assert "10.0.1.1" in outer, "the router has translated the address"
    assert not any(address.startswith("192.168.9.") for address in outer)


def test_every_link_carries_its_mtu_and_no_more():
    for (name, other), (_transport, mtu) in BOTH_WAYS.items():
        assert pinged(name, other, mtu), (name, other, mtu)
        answer = answered_mtu(name, other, mtu)
        assert answer["mtu"] == mtu, (name, other, answer)
        assert answer["sent"] <= 5, "the own host answers, and not the line"


def test_verify_and_conformance_find_no_fault():
    done = ask("tke.overlay.verify")
    assert done.code == 0, done.text
    assert "healthy: 30 of 30 pairs reachable" in done.text
    done = ask("tke.overlay.conformance", "-e", "overlay_conformance_paths=pod,mtu")
    assert done.code == 0, done.text
    assert "\nhealthy: " in done.text


# --- refusals ---


def refused(playbook, *listed):
    """Return the output of a run with other links, on one line; it must fail."""
    done = ask(playbook, *links(*listed))
    assert done.code != 0, done.text
    return joined(done.text)


def test_refuses_links_that_cannot_be_by_name():
    record = LEDGER.read_bytes()
    assert "overlay_links: item 2 lists the sites cloud and idc again" in refused(
        "tke.overlay.preflight", ("vxlan", "idc", "cloud"), ("direct", "cloud", "idc")
    )
    text = refused(
        "tke.overlay.preflight",
        *(("wireguard", "branch"), ("vxlan", "cloud", "branch")),
        *(("vxlan", "idc", "shanghai"), ("wireguard", "idc", "branch", "9000")),
    )
    for words in (("branch1", "branch2", "both"), ("cloud", "vxlan", "NAT"), ("shanghai",), ("9000", "1450")):
        assert all(word in text for word in words), (words, text)
    assert "overlay_wireguard_endpoint" in text
    assert LEDGER.read_bytes() == record


def test_refuses_a_direct_link_to_a_peer_behind_a_router():
    ends = ("cloud1", "cloud2", "idc1", "idc2")
    before = states(ends)
    text = refused("tke.overlay.site", ("direct", "cloud", "idc"), *BRANCH)
    assert "a direct link (overlay_links) requires that both ends are on the same layer-2 network" in text
    assert "cloud1 (10.0.1.11) reaches idc1 (192.168.1.11) by 10.0.1.1" in text
    assert "idc1 (192.168.1.11) reaches cloud1 (10.0.1.11) by 192.168.1.1" in text
    after = states(ends)
    for name, lines in before.items():
        assert after[name] == lines, name
    linked_site()


# --- never in clear ---


@contextlib.contextmanager
def repeated(name, script):
    """Run a script on a host again and again while the body runs."""
    stopped = threading.Event()

    def repeat():
        while not stopped.is_set():
            on(name, f"{script} 2>/dev/null; true")

    worker = threading.Thread(target=repeat, daemon=True)
    worker.start()
    try:
        yield
    finally:
        stopped.set()
        worker.join()


def nothing():
    """Do nothing while packets are offered."""


@contextlib.contextmanager
def killed():
    before = on("cloud1", "pidof wireguard-go")
    with repeated("cloud1", "for pid in $(pidof wireguard-go); do kill -9 $pid; done; sleep 0.05"):
        yield nothing
    until("cloud1", "pidof wireguard-go >/dev/null", 20)
    assert on("cloud1", "pidof wireguard-go") != before


@contextlib.contextmanager
def deleted():
    with repeated("cloud1", "ip link del tke-wg0; sleep 0.05"):
        yield nothing


@contextlib.contextmanager
def wrong_key():
    on("cloud1", "wg genkey > /run/other && wg set tke-wg0 private-key /run/other; rm /run/other")
    yield nothing
    on("cloud1", "systemctl start tke-overlay.service")


@contextlib.contextmanager
def rebooting():
    yield lambda: lab("reboot", "cloud1")
    # A Pod that starts as early as it can.
    on("cloud1", "until lab-pod sync pod-1 pod-2 >/dev/null 2>&1; do sleep 0.1; done")
    with offering("cloud1", "idc1", 1):
        pass


@contextlib.contextmanager
def changing():
    yield lambda: linked_site(*links(("vxlan", "cloud"), ("wireguard", "cloud", "idc", "1400"), *BRANCH))
    linked_site()


# What breaks, who sends meanwhile, and for how many seconds.
BOTH = (("cloud1", "idc1"), ("idc1", "cloud1"))
FAULTS = {
    "killed": (killed, BOTH, 3),
    "device deleted": (deleted, BOTH, 3),
    "keys wrong": (wrong_key, BOTH, 1),
    "rebooting": (rebooting, BOTH[1:], 8),
    "transport changing": (changing, BOTH, 15),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_packet_of_a_pod_leaves_in_clear(fault):
    breaks, senders, seconds = FAULTS[fault]
    with never_in_clear("cloud1", "idc1"), breaks() as meanwhile, contextlib.ExitStack() as stack:
        for sender, receiver in senders:
            stack.enter_context(offering(sender, receiver, seconds))
        meanwhile()
    reached("cloud1", "idc1")


def reached(name, other):
    """Wait until a Pod reaches one of another host: a peer notices after 15 s that a host knows its session no more."""
    until(name, f"ip netns exec pod-1 ping -nqc 1 -W 1 {pod_of(other)} >/dev/null", 40)


def test_the_capture_sees_packets_in_clear():
    """The control of the table above: on a link of VXLAN the same packets are seen."""
    linked_site(*links(("direct", "cloud"), ("vxlan", "cloud", "idc"), *BRANCH))
    with Wire((node_cidr("cloud1"), node_cidr("idc1"))) as wire, offering("cloud1", "idc1", 1):
        pass
    assert wire.clear >= OFFERED


# --- changes ---


def all_reached():
    """Wait until all hosts reach each other again, those behind NAT first: only they can call a broken host."""
    for name, other in itertools.permutations(reversed(HOSTS), 2):
        reached(name, other)


def test_a_fleet_that_two_runs_reach_keeps_talking():
    """The links of the inventory return. To the host that the first run does not reach, its peers send as before."""
    all_reached()
    with nothing_lost(HOSTS):
        linked_site("--limit", "!idc2")
    assert {name: route("cloud1", name)["dev"] for name in ("idc1", "idc2")} == {"idc1": "tke-wg0", "idc2": "tke0"}
    assert route("idc2", "cloud1")["dev"] == "tke0"
    with nothing_lost(HOSTS):
        linked_site()
    assert {route("cloud1", "idc2")["dev"], route("idc2", "cloud1")["dev"]} == {"tke-wg0"}


def test_changing_transports_loses_no_packet():
    all_reached()
    with nothing_lost(HOSTS):
        linked_site(*links(("wireguard", "cloud"), ("wireguard", "cloud", "idc"), ("direct", "idc"), *BRANCH))
    with never_in_clear("cloud1", "cloud2"), offering("cloud1", "cloud2", 1):
        pass
    with nothing_lost(HOSTS):
        linked_site(*links(("vxlan", "cloud"), ("vxlan", "cloud", "idc"), *BRANCH))
    with nothing_lost(HOSTS):
        linked_site()
    assert linked_site().changed() == set()


def devices():
    """Return the WireGuard devices of all hosts."""
    return set(" ".join(on_all(HOSTS, "cd /sys/class/net; echo tke-wg*").values()).split())


def listening():
    """Return the UDP ports of WireGuard of all hosts."""
    return {int(port) for port in " ".join(on_all(HOSTS, "wg show all listen-port | cut -f 2").values()).split()}


def test_a_port_changes_with_the_keys_and_loses_no_packet():
    """Until then, the nodes keep theirs, and so they do if a firewall closes the next one.

    The test after this one goes back to the port of the inventory.
    """
    before = ledger()["nodes"]
    all_reached()
    with nothing_lost(HOSTS):
        kept = linked_site("-e", "overlay_wireguard_port=51900")
        assert kept.changed() == set()
        assert listening() in ({51820}, {51821})
        closed = ask("tke.overlay.rotate_keys", "-e", "overlay_wireguard_port=40000")
        assert {ledger()["nodes"][name]["wireguard_key"] for name in HOSTS} == {
            before[name]["wireguard_key"] for name in HOSTS
        }
        done = ask("tke.overlay.rotate_keys", "-e", "overlay_wireguard_port=51900")
    assert "overlay_wireguard_port 51900 is for the next WireGuard keys" in joined(kept.text)
    assert closed.code != 0
    assert "no node sends by the next keys" in joined(closed.text)
    assert "do not answer by them on UDP port 4000" in joined(closed.text)
    assert done.code == 0, done.text
    assert listening() in ({51900}, {51901})


def test_rotating_keys_loses_no_packet():
    before, secrets, former = ledger()["nodes"], on_all(HOSTS, KEYS), devices()
    all_reached()
    with nothing_lost(HOSTS), never_in_clear("cloud1", "idc1"):
        done = ask("tke.overlay.rotate_keys")
    assert done.code == 0, done.text
    after = ledger()["nodes"]
    assert not {before[name]["wireguard_key"] for name in HOSTS} & {after[name]["wireguard_key"] for name in HOSTS}
    for name, text in on_all(HOSTS, KEYS).items():
        assert not set(text.split()) & set(secrets[name].split()), "the old key is deleted"
    assert devices().isdisjoint(former), "the former device is deleted"
    assert len(devices()) == 1
    assert listening() in ({51820}, {51821})
    assert linked_site().changed() == set()


def test_rotation_needs_every_host():
    before = ledger()
    lab("cut", "idc2")
    done = ask("tke.overlay.rotate_keys", *QUICKLY)
    lab("heal", "idc2")
    assert done.code != 0
    assert "idc2" in joined(done.text)
    assert ledger()["nodes"] == before["nodes"]
    assert linked_site().changed() == set()


def test_refuses_a_key_that_somebody_has_replaced():
    """And what the refusal names gives the host another key. As after a new installation, it has lost its own."""
    (path,) = on("idc1", "ls /etc/tke-overlay/*.key").split()
    before = ledger()["nodes"]
    on("idc1", f"wg genkey > {path}")
    done = ask("tke.overlay.site")
    text = joined(done.text)
    assert done.code != 0
    assert "idc1" in text
    assert "tke.overlay.reset -e overlay_reset=idc1" in text
    assert ledger()["nodes"] == before
    done = ask("tke.overlay.reset", "-e", "overlay_reset=idc1", "-e", "overlay_reset_confirmed=true")
    assert done.code == 0, done.text
    assert linked_site().changed() == set(HOSTS)
    after = ledger()["nodes"]
    assert {name for name in HOSTS if after[name] != before[name]} == {"idc1"}
    assert after["idc1"] == {**before["idc1"], "wireguard_key": after["idc1"]["wireguard_key"]}
    on("idc1", "lab-pod sync pod-1 pod-2")
    all_reached()
    assert linked_site().changed() == set()


def test_a_roll_out_verifies_one_site_after_the_other():
    done = ask("tke.overlay.rollout", "-e", "overlay_rollout_first=branch")
    assert done.code == 0, done.text
    batches = re.findall(r"^(\w+\d, \w+\d): 0 of 2 changed", done.text, re.MULTILINE)
    assert batches == ["branch1, branch2", "cloud1, cloud2", "idc1, idc2"]


def test_private_keys_are_nowhere_but_in_their_files():
    keys = {name: text.split() for name, text in on_all(HOSTS, KEYS).items()}
    on("cloud1", "ip link del $(wg show interfaces)")  # so that the run has a diff
    report = LAB_STATE / "links-report.html"
    printed = [
        ask("tke.overlay.site", "--diff", "-vvv").text,
        ask("tke.overlay.status").text,
        ask("tke.overlay.report", "-e", f"overlay_report_dest={report}").text,
        *(path.read_text(errors="replace") for path in LAB_STATE.glob("*") if path.is_file()),
    ]
    for secret in itertools.chain.from_iterable(keys.values()):
        assert not any(secret in text for text in printed)
    for name, secrets in keys.items():
        for secret in secrets:
            script = f"grep -rlsF '{secret}' /etc /run /var/log /var/lib /var/tmp /tmp /root | grep -v '[.]key$'; true"
            assert on(name, script) == ""


# --- metrics ---


def test_metrics_show_whether_encrypted_links_have_sessions():
    directory = "/var/lib/prometheus/node-exporter"
    linked_site("-e", f"overlay_metrics_dir={directory}")
    run = f"systemctl start tke-overlay.service tke-overlay-probe.service; cat {directory}/tke_overlay_*.prom"

    def values():
        lines = [line.rpartition(" ") for line in on("idc1", run).splitlines() if not line.startswith("#")]
        return {name.removeprefix("tke_overlay_"): value for name, _space, value in lines}

    (device,) = on("idc1", "wg show interfaces").split()
    complete = {f'link_up{{device="{device}"}}': "1", f'wireguard_peers{{device="{device}"}}': "4"}
    for site in ("cloud", "branch"):
        complete[f'probe_wireguard_peers{{site="{site}"}}'] = "2"
        complete[f'probe_wireguard_living_peers{{site="{site}"}}'] = "2"
    found = values()
    assert complete.items() <= found.items()
    assert 'probe_wireguard_peers{site="idc"}' not in found, "VXLAN"
    rule = "udp dport {51820, 51821} drop"
    chains = [f"chain {hook} {{ type filter hook {hook} priority -400; {rule}; }}" for hook in ("input", "output")]
    on("idc1", f"nft 'table inet links_test {{ {'; '.join(chains)}; }}' && ip link del {device}")
    found = values()
    assert found[f'link_up{{device="{device}"}}'] == "1", "the restore script has made it again"
    assert found['restore_repairs_total{object="wireguard"}'] == "1"
    for site in ("cloud", "branch"):
        assert found[f'probe_wireguard_living_peers{{site="{site}"}}'] == "0"
        assert found[f'probe_wireguard_oldest_handshake_timestamp_seconds{{site="{site}"}}'] == "0"
    on("idc1", "nft delete table inet links_test")
    until("idc1", f"[ -z \"$(wg show {device} latest-handshakes | awk '$2 == 0')\" ]", 60)
    assert complete.items() <= values().items()
    linked_site()
    assert on("idc1", f"ls {directory} | grep tke_overlay; true") == ""


# --- without the controller ---


def test_hosts_reach_each_other_after_a_reboot():
    lab("reboot", "cloud2", "branch1")
    for name in ("cloud2", "branch1"):
        on(name, "lab-pod sync pod-1 pod-2")
    for name, other in (("cloud2", "idc1"), ("branch2", "cloud2"), ("branch1", "cloud2"), ("branch1", "idc2")):
        reached(name, other)
    assert unreachable() == {}
    assert linked_site().changed() == set()


def test_a_reset_leaves_nothing():
    done = ask("tke.overlay.reset", "-e", "overlay_reset_confirmed=true")
    assert done.code == 0, done.text
    script = (
        "ls /sys/class/net | grep -E 'tke0|tke-wg'; ls -d /etc/tke-overlay /etc/systemd/system/tke-overlay* 2>/dev/null"
        "; ps -eo args | grep '[w]ireguard-go'; ip route show proto 144; nft list tables | grep tke; true"
    )
    assert set(on_all(HOSTS, script).values()) == {""}
