# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A host with WireGuard links: converging, restoring, reporting and removing it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from wireguard import own_sockets, pids_of, succeed

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import WireguardTable
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.node.options import ConvergeOptions
from ansible_collections.tke.overlay.plugins.module_utils._host.node.phases import PREPARE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.round import read_handshakes
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics import MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.wireguard_key import ensure_key
from breakages import document, everything

KEYS = [f"{letter * 42}A=" for letter in "BCDEF"]
LINKS = "a a vxlan 1450\na b wireguard 1420\nb b vxlan 1450\n"
SILENT = (0, "", "")


def fleet(key, *, endpoint="10.0.1.11:51820"):
    """Return the host in one site, a node beside it, and two in the other site, one of them behind NAT."""
    return [
        Peer("me", "10.244.0.0/24", "10.0.1.11", "a", endpoint, key),
        Peer("beside", "10.244.1.0/24", "10.0.1.101", "a", "10.0.1.101:51820", KEYS[0]),
        Peer("far1", "10.244.2.0/24", "10.0.1.102", "b", "10.0.1.102:51820", KEYS[1]),
        Peer("far2", "10.244.3.0/24", "10.0.1.103", "b", "-", KEYS[2]),
    ]


def linked(key, **changes):
    peers = changes.pop("peers", None) or fleet(key)
    return document(peers, **{"links": LINKS, "wireguard_port": 51820, "wireguard_generation": 0, **changes})


@pytest.fixture
def key(run, tmp_path, monkeypatch):
    """The public key of the host, whose files are below a directory of the test."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    with own_sockets():
        yield ensure_key(0, run, check=False).public_key


@pytest.fixture
def host(run, key, tmp_path):
    """A converged host."""
    node.converge(linked(key), run, check=False)
    return tmp_path


def script(host):
    """Run the script as the timer does; return exit code, reported changes and errors."""
    done = subprocess.run(
        ["sh", f"{host}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay", "TKE_OVERLAY_ROOT": str(host)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def drift(run, plan=None):
    return read_status(run, plan, [])["drift"]


def peers_of(run, device="tke-wg0"):
    return sorted(succeed(run, f"wg show {device} allowed-ips").splitlines())


def test_a_host_has_a_peer_for_each_node_of_a_linked_site(run, key):
    difference = node.converge(linked(key), run, check=True)
    assert sorted(difference.tables["wireguard"].added) == [
        "tke-wg0",
        *(f"tke-wg0 peer {each}" for each in KEYS[1:3]),
    ]
    made = node.converge(linked(key), run, check=False)
    assert list(made.diffs()) == list(difference.diffs())
    assert peers_of(run) == [f"{KEYS[1]}\t10.244.2.0/24", f"{KEYS[2]}\t10.244.3.0/24"]
    before = everything(run)
    assert not node.converge(linked(key), run, check=False).changed
    assert everything(run) == before


def test_behind_nat_a_host_keeps_the_way_back_open(run, key):
    node.converge(linked(key, peers=fleet(key, endpoint="-")), run, check=False)
    assert succeed(run, "wg show tke-wg0 persistent-keepalive").split()[1::2] == ["25", "25"]


def test_without_links_nothing_of_wireguard_is_there(run, key, tmp_path):
    result = node.converge(document(), run, check=False)
    assert "wireguard" not in result.tables
    assert not (tmp_path / STATE[1:] / "wireguard").exists()
    assert not any("wireguard" in name for name in result.file_names)


def test_the_saved_file_is_the_inverse_of_its_table(run, host):
    text = (host / STATE[1:] / "wireguard").read_text()
    assert WireguardTable.parse(text).text() == text


def test_the_private_key_is_in_no_other_file_and_no_result(run, key, tmp_path):
    secret = (tmp_path / STATE[1:] / "wireguard-0.key").read_text().strip()
    seen = []

    def recording(command, text=None):
        result = run(command, text)
        seen.append((command, text, result))
        return result

    check = node.converge(linked(key), recording, check=True)
    made = node.converge(linked(key), recording, check=False)
    assert secret not in repr((seen, check, made, list(made.diffs()), read_status(recording, linked(key), [])))
    run(["wg", "set", "tke-wg0", "private-key", "/dev/null"])
    assert secret not in repr(script(tmp_path))
    with_secret = [
        path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")
    ]
    assert [path.name for path in with_secret] == ["wireguard-0.key"]


BREAKAGES = {
    "ip link del tke-wg0": "device tke-wg0: missing",
    "ip link set tke-wg0 down": "down",
    "ip link set tke-wg0 mtu 1300": "missing mtu 1420",
    "ip address del 10.244.0.0/32 dev tke-wg0": "missing 10.244.0.0/32",
    "ip address add 10.9.9.9/24 dev tke-wg0": "surplus 10.9.9.9/24",
    "wg set tke-wg0 listen-port 4000": "port was 4000",
    "wg set tke-wg0 fwmark 7": "fwmark was 0x7",
    "wg set tke-wg0 private-key /dev/null": "private key",
    f"wg set tke-wg0 peer {KEYS[1]} remove": "missing or other peers: 1",
    f"wg set tke-wg0 peer {KEYS[1]} remove peer {KEYS[2]} remove": "missing or other peers: 2",
    f"wg set tke-wg0 peer {KEYS[4]} allowed-ips 10.9.0.0/16": "surplus peers: 1",
    f"wg set tke-wg0 peer {KEYS[4]} allowed-ips 10.244.2.0/24": "surplus peers: 1, missing or other peers: 1",
    f"wg set tke-wg0 peer {KEYS[1]} allowed-ips 10.244.2.0/24,10.9.0.0/16": "missing or other peers: 1",
    f"wg set tke-wg0 peer {KEYS[1]} endpoint 10.0.1.99:7": "missing or other peers: 1",
    f"wg set tke-wg0 peer {KEYS[1]} persistent-keepalive 7": "missing or other peers: 1",
    f"wg set tke-wg0 peer {KEYS[1]} preshared-key KEY": "missing or other peers: 1",
}


def test_the_script_corrects_each_breakage_and_reports_it(run, key, host):
    for line, reported in BREAKAGES.items():
        succeed(run, line.replace(" KEY", f" {host}{STATE}/wireguard-0.key"))
        assert any("wireguard: " in sentence for sentence in drift(run)), line
        assert drift(run, linked(key)), line
        code, out, errors = script(host)
        assert (code, errors) == (0, ""), line
        assert reported in out, line
        assert script(host) == SILENT, line
        assert drift(run) == drift(run, linked(key)) == [], line
    assert not node.converge(linked(key), run, check=True).changed


def test_the_script_needs_wg_and_says_so(run, host, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    text = (host / STATE[1:] / "restore").read_text().replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={programs}")
    for path in {path.name: path for place in ("/usr/bin", "/usr/sbin") for path in Path(place).iterdir()}.values():
        if path.name != "wg":
            (programs / path.name).symlink_to(path)
    (host / STATE[1:] / "restore").write_text(text)
    code, _out, errors = script(host)
    assert code == 1
    assert "no wg any more: install wireguard-tools" in errors
    assert peers_of(run), "the device stays"


def test_the_status_counts_the_peers_of_each_device(run, key, host):
    expected = {"device": "tke-wg0", "generation": 0, "port": 51820, "public_key": key, "peers": 2, "answering": 0}
    assert read_status(run, None, [])["wireguard"] == [expected]


def test_metrics_show_the_device_before_and_after_a_repair(run, key, tmp_path):
    (tmp_path / "metrics").mkdir()
    options = node.ConvergeOptions(metrics=MetricsSpec("/metrics", 60, {"me": "a", "far1": "b", "far2": "b"}))
    node.converge(linked(key), run, check=False, options=options)

    def written():
        script(tmp_path)
        text = (tmp_path / "metrics/tke_overlay_node.prom").read_text()
        return {line for line in text.splitlines() if "tke-wg0" in line}

    complete = {
        'tke_overlay_link_expected_mtu_bytes{device="tke-wg0"} 1420',
        'tke_overlay_link_mtu_bytes{device="tke-wg0"} 1420',
        'tke_overlay_link_up{device="tke-wg0"} 1',
        'tke_overlay_wireguard_peers{device="tke-wg0"} 2',
    }
    assert written() == complete
    run(["ip", "link", "set", "tke-wg0", "down"])
    assert written() == complete, "repaired"
    peers = (tmp_path / f"{STATE}/probe.peers".lstrip("/")).read_text().splitlines()
    assert {line.split()[1] for line in peers if line.endswith(" encrypted")} == {"far1", "far2"}
    assert read_handshakes() == {"10.244.2.0": 0, "10.244.3.0": 0}


def test_after_a_boot_the_devices_are_complete(run, key, host):
    peers = peers_of(run)
    succeed(run, "ip link del tke-wg0")
    succeed(run, "ip link del tke0")
    succeed(run, "nft flush ruleset")
    code, reported, errors = script(host)
    assert (code, errors) == (0, "")
    assert "device tke-wg0: missing" in reported
    assert peers_of(run) == peers
    assert script(host) == SILENT
    assert not node.converge(linked(key), run, check=True).changed


def test_a_killed_wireguard_go_is_started_again(run, host):
    [process] = pids_of("tke-wg0")
    os.kill(process, signal.SIGKILL)
    while "tke-wg0" in succeed(run, "ip link"):
        pass
    assert script(host)[::2] == (0, "")
    assert script(host) == SILENT


def test_a_lost_or_other_private_key_is_reported_with_its_remedy(run, key, host):
    path = host / STATE[1:] / "wireguard-0.key"
    path.write_text(succeed(run, "wg genkey"))
    assert script(host) == SILENT, "the device has the right one"
    succeed(run, "ip link del tke-wg0")
    code, _reported, errors = script(host)
    assert code == 1
    assert f"wireguard-0.key is not the private key of {key}: put it back, or run tke.overlay.reset" in errors


def test_a_device_of_another_kind_is_kept_and_reported(run, host):
    succeed(run, "ip link del tke-wg0")
    succeed(run, "ip link add tke-wg0 type bridge")
    code, _reported, errors = script(host)
    assert code == 1
    assert "tke-wg0 is not a WireGuard device" in errors


def test_a_device_is_removed_with_the_last_wireguard_link(run, key, host):
    plain = linked(key, links="a a vxlan 1450\na b vxlan 1450\nb b vxlan 1450\n")
    result = node.converge(plain, run, check=False)
    assert "tke-wg0" in result.tables["wireguard"].removed
    assert "tke-wg0" not in succeed(run, "ip link")
    assert not (host / STATE[1:] / "wireguard").exists()
    assert not node.converge(plain, run, check=False).changed
    assert script(host) == SILENT


def test_another_port_that_is_taken_is_reported_first(run, key, host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 51900))
        with pytest.raises(ValidationError, match=r"UDP port 51900 \(overlay_wireguard_port\) is taken by"):
            node.converge(linked(key, wireguard_port=51900), run, check=True)
    assert succeed(run, "wg show tke-wg0 listen-port") == "51820\n"
    node.converge(linked(key, wireguard_port=51900), run, check=False)
    assert succeed(run, "wg show tke-wg0 listen-port") == "51900\n"


def test_reset_removes_devices_and_keys(run, key, host):
    expected = list(reset.remove("tke0", "tke-br0", run, check=True).diffs())
    removed = reset.remove("tke0", "tke-br0", run, check=False)
    assert list(removed.diffs()) == expected
    assert "tke-wg0\n" in next(diff.before for diff in expected if diff.name == "link")
    assert f"{STATE}/wireguard-0.key\n" in next(diff.before for diff in expected if diff.name == "files")
    assert "tke-wg0" not in succeed(run, "ip link")
    assert not (host / STATE[1:]).exists()


def test_a_change_of_keys_names_the_remedy_of_a_lost_former_key(run, key, host):
    later = ensure_key(1, run, check=False).public_key
    plan = linked(later, peers=fleet(later, endpoint="10.0.1.11:51821"), wireguard_generation=1)
    (host / STATE[1:] / "wireguard-0.key").unlink()
    prepare = ConvergeOptions(phase=PREPARE)
    assert node.converge(plan, run, check=False, options=prepare).unfinished, "the former device has its key"
    succeed(run, "ip link del tke-wg0")
    with pytest.raises(
        KernelError, match=r"tke-wg0 needs its former key, .*wireguard-0\.key .*: .*tke\.overlay\.reset"
    ):
        node.converge(plan, run, check=False, options=prepare)
    assert "tke-wg0" not in succeed(run, "ip link")


def test_a_failed_change_takes_the_new_device_away_again(run, key, tmp_path):
    node.converge(document(), run, check=False)

    def failing(command, text=None):
        return (1, "", "no") if command[:2] == ("wg", "addconf") else run(command, text)

    with pytest.raises(KernelError, match="rolled back, and the host is as it was before"):
        node.converge(linked(key), failing, check=False)
    assert "tke-wg0" not in succeed(run, "ip link")
    assert not (tmp_path / STATE[1:] / "wireguard").exists()
