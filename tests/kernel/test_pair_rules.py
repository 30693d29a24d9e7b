# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The script that keeps the rules of the load balancer loaded: what it restores, and what it does not change."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import programs, status
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    CHECKSUMS_FILE,
    RESTORE_FILE,
    RULES_FILE,
    RUN_DIRECTORY,
    rules,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import PairHost, PairSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from breakages import broken, everything

SPEC = PairSpec(
    own=PairHost("clb1", "10.0.2.11"),
    peer=PairHost("clb2", "10.0.2.12"),
    preferred_vip="apiserver",
    vips={"apiserver": "10.0.2.2", "services": "10.0.2.3"},
    subnet="10.0.2.0/24",
    apiservers={"api1": "10.0.1.21:6443"},
    api_port=6443,
    services=[],
    listeners=[],
    ca="",
    metrics_port=8405,
    vrid=84,
)
SILENT = (0, "", "")


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with the files of the rules, in a directory of its own, before anything was loaded."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    texts = {RULES_FILE: rules(SPEC), RESTORE_FILE: programs.RESTORE_PAIR_SH}
    for name, text in {**texts, CHECKSUMS_FILE: checksums_text(CHECKSUMS_FILE, texts)}.items():
        files.write_file(name, text)
    return tmp_path


def script(host, **environment):
    """Run the script as the timer does; return its exit code, output and errors."""
    done = subprocess.run(
        ["sh", f"{host}{RESTORE_FILE}"],
        env={**os.environ, "TKE_OVERLAY_CLB_RUN": f"{host}{RUN_DIRECTORY}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


BREAKAGES = {
    "nft flush ruleset": "missing",
    "nft delete table inet tke_overlay_clb": "missing",
    "nft flush table inet tke_overlay_clb": "changed",
    "nft flush chain inet tke_overlay_clb input": "changed",
    "nft add rule inet tke_overlay_clb input drop": "changed",
    "nft add chain inet tke_overlay_clb other": "changed",
}


@pytest.mark.parametrize("line", BREAKAGES)
def test_rules_that_were_removed_or_changed_are_restored(run, host, line):
    assert script(host) == (0, "tke-overlay-clb: restored: rules: missing\n", "")
    assert script(host) == SILENT
    assert status.rules_drift(rules(SPEC), run) == []
    intact = everything(run)
    broken(run, line)
    (sentence,) = status.rules_drift(rules(SPEC), run)
    assert ("is missing" if BREAKAGES[line] == "missing" else "differs from") in sentence
    expected = (0, f"<5>tke-overlay-clb: restored: rules: {BREAKAGES[line]}\n", "")
    assert script(host, JOURNAL_STREAM="8:1") == expected
    assert everything(run) == intact
    assert script(host) == SILENT
    assert status.rules_drift(rules(SPEC), run) == []


def test_new_rules_replace_the_former_without_a_message(run, host):
    script(host)
    text = rules(SPEC._replace(peer=PairHost("clb2", "10.0.2.77")))
    files.write_file(RULES_FILE, text)
    files.write_file(CHECKSUMS_FILE, checksums_text(CHECKSUMS_FILE, {RULES_FILE: text}))
    assert script(host) == SILENT
    assert "10.0.2.77" in run(["nft", "list", "table", "inet", "tke_overlay_clb"])[1]
    assert status.rules_drift(text, run) == []


@pytest.mark.parametrize("text", ["", "table inet tke_overlay_clb\ndelete table inet tke_overlay_clb\n"])
def test_a_damaged_file_does_not_replace_loaded_rules(run, host, text):
    script(host)
    intact = everything(run)
    (host / RULES_FILE[1:]).write_text(text)
    code, output, errors = script(host)
    assert (code, output) == (1, "")
    assert f"{RULES_FILE} is damaged and was not loaded: run tke.overlay.site" in errors
    assert everything(run) == intact


def test_foreign_tables_stay(run, host):
    broken(run, "nft add table ip other")
    script(host)
    broken(run, "nft delete table inet tke_overlay_clb")
    assert script(host)[0] == 0
    assert "table ip other" in run(["nft", "list", "tables"])[1]
