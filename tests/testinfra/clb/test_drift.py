# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Everything that the modules put on a host is altered: it is put back by a timer, or it is drift, and site repairs it.

The lists of files and units come from the code, so that a new file is altered, too.
"""

from __future__ import annotations

import json
import pathlib

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import cleanup
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import status as pair
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import UNITS
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state import paths
from faults import Holders
from stories import LAB_STATE, NODES, PAIR, lab, ledger, on, play, reloads_needed, until

testinfra_hosts = ["local://"]

CA = ("-e", f"overlay_api_ca={LAB_STATE / 'api-ca.crt'}")
PERIOD = 1
TIMERS = {**dict.fromkeys(NODES, "tke-overlay.timer"), **dict.fromkeys(PAIR, "tke-overlay-clb.timer")}

FILES = {**dict.fromkeys(NODES, (*reset.FILES, *cleanup.FILES)), **dict.fromkeys(PAIR, pair.FILES)}
OPTIONAL = {
    # Only with a network manager, a route of the site or kubeconfigs.
    *(paths.NETWORK_FILE, paths.NETWORKD_FILE, paths.NETWORK_MANAGER_FILE),
    *(f"{paths.STATE}/endpoint.batch", paths.ENDPOINT_SERVERS),
    # Only with overlay_metrics_dir (scenario health), or with links that are encrypted (scenario links).
    *(*paths.METRICS_FILES, *pair.METRICS_FILES, *paths.WIREGUARD_FILES),
}
DAMAGES = {"missing": "rm {}", "changed": ": >{}", "Changed": "echo more >>{}", "mode 0666": "chmod 666 {}"}
"""Beginning of the sentence about the file (in any case) -> what happens to the file."""

NODE_UNITS = (paths.TIMER, paths.SERVICE)
UNIT_CHANGES = {
    "cloud1": ("systemctl stop {}", [paths.TIMER]),
    "cloud2": ("systemctl --quiet disable {}", NODE_UNITS),
    "idc1": ("systemctl --quiet disable --now {}", [paths.TIMER]),
    "clb1": ("systemctl stop {}", UNITS),
    "clb2": ("systemctl --quiet disable {}", UNITS),
}


@pytest.fixture
def often():
    """Let the timers of all hosts run often, until the next reload of systemd without the files of this fixture."""
    for name, timer in TIMERS.items():
        directory = f"/run/systemd/system/{timer}.d"
        text = f"[Timer]\\nOnActiveSec={PERIOD}s\\nOnUnitInactiveSec={PERIOD}s\\n"
        on(name, f"mkdir -p {directory} && printf '{text}' >{directory}/often.conf")
        on(name, f"systemctl daemon-reload && systemctl restart {timer}")
    yield
    for name, timer in TIMERS.items():
        on(name, f"rm -r /run/systemd/system/{timer}.d && systemctl daemon-reload && systemctl restart {timer}")


@pytest.mark.usefixtures("often")
def test_timers_put_back_rules_and_names_that_other_programs_removed():
    names = {name: on(name, "cat /etc/hosts") for name in NODES}
    for name in PAIR:
        on(name, "nft flush ruleset")  # as a restart of nftables.service does on Debian
    for name in NODES:
        on(name, "echo '127.0.1.1 written.by.cloud-init' >/etc/hosts")
    for name in PAIR:
        until(name, "nft list table inet tke_overlay_clb 2>/dev/null | grep -q not_the_peer", PERIOD + 5)
    for name in NODES:
        until(name, "grep -q api.lab.internal /etc/hosts", PERIOD + 5)
        block = on(name, "sed -n '/^# BEGIN/,/^# END/p' /etc/hosts")
        assert block in names[name]
        assert on(name, "head -n 1 /etc/hosts") == "127.0.1.1 written.by.cloud-init\n"
        on(name, f"cat >/etc/hosts <<'EOF'\n{names[name]}EOF\n")
        unit = on(name, "systemctl show -p Before,After tke-overlay.service")
        assert {"kubelet.service", "cloud-init.service"} <= set(unit.replace("=", " ").split())


CLOUD_INIT = """[Unit]
Before=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sleep 1; echo 127.0.1.1 written.by.cloud-init >/etc/hosts'
[Install]
WantedBy=multi-user.target
"""
KUBELET = """[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/cp /etc/hosts /run/hosts-of-kubelet
[Install]
WantedBy=multi-user.target
"""


def test_after_a_boot_kubelet_finds_the_name_that_cloud_init_has_removed():
    """cloud-init with manage_etc_hosts writes the file at each boot; here, units stand in for both programs."""
    name, units = "idc2", {"cloud-init.service": CLOUD_INIT, "kubelet.service": KUBELET}
    before = on(name, "cat /etc/hosts")
    for unit, text in units.items():
        on(name, f"cat >/etc/systemd/system/{unit} <<'EOF'\n{text}EOF\nsystemctl --quiet enable {unit}")
    try:
        lab("reboot", name)
        until(name, "[ -e /run/hosts-of-kubelet ]", 30)
        seen = on(name, "cat /run/hosts-of-kubelet")
        assert seen.startswith("127.0.1.1 written.by.cloud-init\n")
        assert "api.lab.internal\n" in seen
    finally:
        on(name, f"systemctl --quiet disable {' '.join(units)}; cd /etc/systemd/system && rm {' '.join(units)}")
        on(name, f"systemctl daemon-reload; cat >/etc/hosts <<'EOF'\n{before}EOF\nlab-pod sync pod-1 pod-2 || true")


def altered(name, shift):
    """Damage each file of a host in one of the ways; return path -> the expected beginning of its sentence."""
    ways, expected, commands = list(DAMAGES.items()), {}, []
    present = set(on(name, f"ls -d {' '.join(FILES[name])} 2>/dev/null || true").split())
    assert present >= set(FILES[name]) - OPTIONAL, f"{name} lacks files that the code lists"
    for number, path in enumerate(path for path in FILES[name] if path in present):
        # Without the checksums only the plan shows which of the other files differ, so this file gets a line.
        sentence, command = ways[2 if path.endswith("checksums") else (number + shift) % len(ways)]
        expected[path] = sentence.lower()
        commands.append(command.format(path))
    change, units = UNIT_CHANGES.get(name, ("", []))
    on(name, "; ".join([*(change.format(unit) for unit in units), *commands]))
    return expected


def drift(tmp_path):
    done = play(str(pathlib.Path(__file__).parent / "drift.yml"), "-e", f"drift_directory={tmp_path}")
    assert done.code == 0, done.text
    return {name: json.loads((tmp_path / name).read_text()) for name in TIMERS}


def test_every_altered_file_and_unit_is_drift_and_site_repairs_it(tmp_path):
    expected = {name: altered(name, shift) for shift, name in enumerate(TIMERS)}
    found = drift(tmp_path)
    silent = [
        f"{name}: {path} ({sentence})"
        for name, sentences in expected.items()
        for path, sentence in sentences.items()
        if not any(line.startswith(f"file {path}: {sentence}") for line in found[name])
    ]
    assert silent == []
    for name, (_change, units) in UNIT_CHANGES.items():
        lines = "\n".join(found[name])
        assert not [unit for unit in units if f"unit {unit}: is " not in lines and name in PAIR], lines
    done = play("tke.overlay.site", *CA)
    assert done.code == 0, done.text
    assert done.changed() >= set(TIMERS)
    assert set(reloads_needed().values()) == {"no"}, "units were written again, and enabled"
    shown = play("tke.overlay.status", *CA).text
    assert "next: nothing to do" in shown, shown
    with Holders(ledger()["vips"]) as holders:
        holders.await_preferred(20)
