# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the drift of a host of the pair: every file and unit, and what runs. The lab has real hosts."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import config, health_agent, status
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    CHECKSUMS_FILE,
    HAPROXY_FILE,
    KEEPALIVED_FILE,
    LISTING_FILE,
    LOADED_FILE,
    LOADED_RULES_FILE,
    RULES_FILE,
    TIMER_UNIT,
    UNITS,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.status import FILES, read_pair_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text

TABLE = "table inet tke_overlay_clb {\n\tcounter not_the_peer {\n\t\tpackets 0 bytes 0\n\t}\n}\n"


class Host:
    """A configured host of the pair, without drift."""

    def __init__(self, root, spec, links):
        self.root = root
        self.table = TABLE.replace("packets 0", "packets 7")  # as nft 0.9.8 lists it in spite of -s
        self.units = dict.fromkeys(UNITS, "enabled active success")
        self.result = "success"  # of the last run of the timer's service
        texts = dict.fromkeys(FILES, "text\n") | {
            HAPROXY_FILE: config.haproxy_cfg(spec, links),
            KEEPALIVED_FILE: config.keepalived_conf(spec, links),
            RULES_FILE: config.rules(spec),
        }
        del texts[CHECKSUMS_FILE]
        self.config_id = config.config_id_in(texts[HAPROXY_FILE])
        for name, text in {
            **texts,
            CHECKSUMS_FILE: checksums_text(CHECKSUMS_FILE, texts),
            LOADED_FILE: texts[RULES_FILE] + texts[KEEPALIVED_FILE],
            LOADED_RULES_FILE: texts[RULES_FILE],
            LISTING_FILE: TABLE,
        }.items():
            files.write_file(name, text)

    def __call__(self, command, text):
        if command[0] == "nft":
            return int(not self.table), self.table, ""
        blocks = []
        for unit in command[4:]:
            enabled, active, result = self.units.get(unit, f"static inactive {self.result}").split()
            blocks.append(
                f"Id={unit}\nUnitFileState={enabled}\nActiveState={active}\nResult={result}\nExecMainStatus=1"
            )
        return 0, "\n\n".join(blocks), ""

    def path(self, name):
        return self.root / name[1:]

    def fetch_health(self, path):
        if not self.config_id:
            raise ConnectionRefusedError
        return {"config": self.config_id}


@pytest.fixture
def host(tmp_path, monkeypatch, spec, links):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    made = Host(tmp_path, spec, links)
    monkeypatch.setattr(health_agent, "fetch_health", made.fetch_health)
    return made


def test_a_host_without_load_balancer_has_no_status(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    assert read_pair_status(lambda command, text: pytest.fail(f"ran {command}")) is None


def test_a_host_as_it_was_configured_has_no_drift(host):
    assert read_pair_status(host) == status.PairStatus([], "active")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["remove", "truncate", "append", "chmod", "null"])
def test_each_changed_file_is_drift(host, name, damage):
    path = host.path(name)
    if damage in ("remove", "null"):
        path.unlink()
    if damage == "null":
        path.symlink_to("/dev/null")
    elif damage == "chmod":
        path.chmod(0o600)
    elif damage != "remove":
        path.write_text("" if damage == "truncate" else f"{path.read_text()}more\n")
    expected = {"remove": "missing", "chmod": "mode 0600"}.get(damage, "changed")
    assert any(line.startswith(f"file {name}: {expected}") for line in read_pair_status(host).drift)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("disabled active success", "is disabled active, should be enabled active"),
        ("enabled inactive success", "is enabled inactive, should be enabled active"),
        ("masked inactive success", "is masked inactive, should be enabled active"),
        ("enabled activating exit-code", "is enabled activating (exit-code), should be enabled active"),
        ("enabled failed signal", "is enabled failed (signal), should be enabled active"),
    ],
)
def test_each_unit_that_is_off_or_fails_is_drift(host, unit, state, shown):
    host.units[unit] = state
    found = read_pair_status(host)
    assert found.drift == [f"unit {unit}: {shown}"]
    assert found.timer == ("stopped" if unit == TIMER_UNIT and " active " not in state else "active")


def test_a_failed_run_of_the_timer_is_shown(host):
    host.result = "exit-code"
    assert read_pair_status(host).timer == (
        "active, last run failed (exit-code 1): journalctl -u tke-overlay-clb.service"
    )


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", "rules: table inet tke_overlay_clb is missing"),
        (TABLE + "x", f"rules: table inet tke_overlay_clb differs from {RULES_FILE}"),
    ],
)
def test_rules_that_are_gone_or_changed_are_drift(host, table, sentence):
    host.table = table
    assert read_pair_status(host).drift == [sentence]


def test_rules_that_were_never_recorded_are_drift(host):
    host.path(LISTING_FILE).unlink()
    assert read_pair_status(host).drift == [f"rules: table inet tke_overlay_clb differs from {RULES_FILE}"]


@pytest.mark.parametrize(
    ("running", "sentence"),
    [
        ("", "HAProxy: does not answer on its health socket"),
        ("other", f"HAProxy: runs another configuration than {HAPROXY_FILE}"),
    ],
)
def test_a_proxy_with_another_configuration_is_drift(host, running, sentence):
    host.config_id = running
    assert read_pair_status(host).drift == [sentence]


def test_keepalived_with_another_configuration_is_drift(host):
    host.path(LOADED_FILE).write_text("former")
    assert read_pair_status(host).drift == [f"keepalived: runs another configuration than {KEEPALIVED_FILE}"]
