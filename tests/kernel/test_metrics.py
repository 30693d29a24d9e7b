# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The metrics that the restore script and the probe timer write, and what happens if they cannot."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import round as probe_round
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics import MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import METRICS_FILES, STATE
from breakages import broken, document, everything

DIRECTORY = "/metrics"
OPTIONS = node.ConvergeOptions(metrics=MetricsSpec(DIRECTORY, 60, {"n0": "cloud", "n1": "cloud"}))


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A configured host that writes metrics, with its own directory for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    (tmp_path / "metrics").mkdir()
    node.converge(document(), run, False, OPTIONS)
    return tmp_path


def script(host):
    """Run the restore script as the timer does; return exit code and errors."""
    done = subprocess.run(
        ["sh", f"{host}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay", "TKE_OVERLAY_ROOT": str(host)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def values(host, name="tke_overlay_node.prom"):
    """Return series -> value of a file of metrics."""
    lines = (host / "metrics" / name).read_text().splitlines()
    return {key: float(value) for key, _space, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_each_run_of_the_restore_script_writes_the_metrics(run, host):
    print(script(host))
    print((host / "metrics/tke_overlay_node.prom").read_text())
    assert 0
