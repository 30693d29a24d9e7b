# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the configuration of one host of the pair, and of the errors. The lab tests what the host then does."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import converge as module
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    CA_FILE,
    CHECKSUMS_FILE,
    DIRECTORY,
    HAPROXY_FILE,
    HAPROXY_UNIT,
    HEALTH_AGENT_FILE,
    HEALTH_AGENT_UNIT,
    KEEPALIVED_FILE,
    KEEPALIVED_UNIT,
    LISTING_FILE,
    LOADED_FILE,
    LOADED_RULES_FILE,
    METRICS_FILES,
    RESTORE_UNIT,
    RULES_FILE,
    RUN_DIRECTORY,
    TIMER_UNIT,
    UNITS,
    config_id_in,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.converge import (
    FILES,
    check_cluster,
    converge,
    missing_programs,
    remove,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import PAIR_CLUSTER_FILE


class Host:
    """A host whose programs succeed, unless a test sets an error; it records the commands that change something."""

    def __init__(self, root):
        self.root = root
        self.addresses = [("eth0", "10.0.2.11", 24)]
        self.gateway = "10.0.2.1"
        self.errors = {}  # the beginning of a command -> its error output
        self.units = {}
        self.config_id = ""  # of the configuration that the proxy runs
        self.units_obey = True
        self.table = ""  # nft's listing of the table
        self.keepalived = "Config options:  NFTABLES VRRP INIT=systemd SYSTEMD_NOTIFY\n"
        self.pythons = ["/usr/bin/python3"]
        self.after_command = {}  # command -> what happens after it
        self.outputs = {}  # the beginning of a command -> its output
        self.tracked = {}  # what keepalived tracks in the configuration that it tests: path -> text, None if missing
        self.commands = []
        (root / "run/systemd/system").mkdir(parents=True)

    def __call__(self, command, text):
        line = " ".join(command)
        for start, error in self.errors.items():
            if line.startswith(start):
                return 1, "", error
        if line.startswith("ip -json -4 address"):
            rows = [
                {"ifname": device, "addr_info": [{"local": address, "prefixlen": length}, {"label": "no address"}]}
                for device, address, length in self.addresses
            ]
            return 0, json.dumps(rows), ""
        if line.startswith("ip -json -4 route"):
            return 0, json.dumps([{"dst": "default", "gateway": self.gateway}, {"dst": "default", "dev": "ppp0"}]), ""
        if line.startswith("systemctl show"):
            blocks = [
                f"Id={unit}\nUnitFileState=%s\nActiveState=%s" % self.units.get(unit, ("", "inactive"))
                for unit in UNITS
            ]
            return 0, "\n\n".join(blocks), ""
        if line.startswith("journalctl"):
            return 0, f"a line of {command[-1]}\n\nand more\n", ""
        if line.startswith("nft -s list table"):
            return int(not self.table), self.table, ""
        if command[0].startswith("/usr/"):
            return int(command[0] not in self.pythons), "", ""
        if line == "keepalived --version":
            return 0, "", self.keepalived
        if command[0] == "keepalived":
            self.track(command[-1].partition("=")[2])
        if command[0] in ("haproxy", "keepalived") or "--check" in command:
            return 0, "".join(text for start, text in self.outputs.items() if line.startswith(start)), ""
        self.commands.append(line)
        self.change(line.split())
        self.after_command.get(line, lambda: None)()
        return 0, "", ""

    def track(self, path):
        text = pathlib.Path(path).read_text(encoding="utf-8")
        files_in = [pathlib.Path(name) for name in re.findall(r"^    file (\S+)$", text, re.MULTILINE)]
        self.tracked = {str(each): each.read_text(encoding="utf-8") if each.exists() else None for each in files_in}

    def change(self, words):
        if words[1] == "enable":
            self.units[words[-1]] = ("enabled", "inactive")
        if words[1] in ("restart", "reload") and self.units_obey:
            self.units[words[-1]] = ("enabled", "active")
            if words[-1] == HAPROXY_UNIT:
                self.config_id = config_id_in(self.text(HAPROXY_FILE))
            if words[-1] == KEEPALIVED_UNIT:
                self.write(LOADED_FILE, self.text(RULES_FILE) + self.text(KEEPALIVED_FILE))
                self.load_rules()
            if words[-1] == HEALTH_AGENT_UNIT:
                self.publish(health_agent.HEALTHY)
        if words[1:] == ["start", RESTORE_UNIT]:
            self.load_rules()
        if words[1] == "disable":
            self.units.pop(words[-1])

    def load_rules(self):
        self.table = "table inet tke_overlay_clb {\n}\n"
        self.write(LISTING_FILE, self.table)
        self.write(LOADED_RULES_FILE, self.text(RULES_FILE))

    def publish(self, weight):
        for vip in ("apiserver", "services"):
            self.write(f"{RUN_DIRECTORY}/{vip}", f"{weight}\n")

    def write(self, name, text):
        path = self.root / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def text(self, name):
        return (self.root / name[1:]).read_text()

    def fetch_health(self, path):
        if not self.config_id:
            raise ConnectionRefusedError
        return {"config": self.config_id}


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(tmp_path)
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(module, "READY_SECONDS", 0)
    monkeypatch.setattr(module, "missing_programs", list)
    monkeypatch.setattr(health_agent, "fetch_health", made.fetch_health)
    return made


@pytest.fixture
def new_spec(spec):
    """A specification that changes the HAProxy configuration alone."""
    return spec._replace(apiservers={"api9": "10.0.1.29:6443"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("NFTABLES VRRP INIT=systemd SYSTEMD_NOTIFY", "Type=notify\nNotifyAccess=all\n"),
        ("NFTABLES VRRP", "Type=exec\n"),
    ],
)
def test_systemd_waits_only_for_a_keepalived_that_notifies(spec, host, options, expected):
    """The keepalived of Debian 11 was built without it: its start would time out."""
    host.keepalived = f"Keepalived v2.1.5 (07/13,2020)\n\nConfig options:  {options}\n"
    converge(spec, host, check=False)
    assert expected in host.text(f"/etc/systemd/system/{KEEPALIVED_UNIT}")


def test_keepalived_is_tested_with_files_of_its_own(spec, host):
    """keepalived 2.3 rejects a configuration whose track files do not exist, as before the first converge."""
    converge(spec, host, check=True)
    assert list(host.tracked.values()) == ["0\n", "0\n"]
    assert not [path for path in host.tracked if path.startswith("/run/")]
    converge(spec, host, check=False)
    assert f"file {RUN_DIRECTORY}/apiserver\n" in host.text(KEEPALIVED_FILE)


@pytest.mark.parametrize(
    ("version", "known"),
    [("HA-Proxy version 2.2.9-2+deb11u7 2025/04/23", False), ("HAProxy version 3.0.11-1", True), ("", True)],
)
def test_times_of_keepalives_if_haproxy_knows_them(spec, host, version, known):
    host.outputs["haproxy -v"] = f"{version} - https://haproxy.org/\n"
    converge(spec, host, check=False)
    assert ("    clitcpka-idle 60s\n" in host.text(HAPROXY_FILE)) is known
    assert "    option clitcpka\n" in host.text(HAPROXY_FILE)


def test_an_haproxy_that_is_too_old_is_rejected(spec, host):
    host.outputs["haproxy -v"] = "HA-Proxy version 2.0.13-2 2020/02/13\n"
    with pytest.raises(ValidationError, match=r"host clb1 has HAProxy 2\.0, .* requires 2\.2 or later: upgrade"):
        converge(spec, host, check=True)


def test_a_warning_about_the_configuration_is_returned(spec, host):
    host.outputs["haproxy -c"] = (
        "[WARNING]  (7) : config : Parsing [/tmp/x/haproxy.cfg:63]: the keyword is deprecated.\n"
        "[WARNING]  (7) : resolvers 'host': can't connect socket for nameserver '10.255.255.53'.\n"
    )
    (warning,) = converge(spec, host, check=True).warnings
    assert warning.startswith("haproxy: ")
    assert "haproxy.cfg:63]: the keyword is deprecated." in warning
    host.outputs.clear()
    assert not converge(spec, host, check=False).warnings


def actions(result):
    return [(action.unit, action.verb) for action in result.actions]


def test_installs_files_then_units_and_is_idempotent(spec, host):
    spec = spec._replace(cluster="demo")
    forecast = converge(spec, host, check=True)
    assert (host.commands, forecast.changed) == ([], True)
    result = converge(spec, host, check=False)
    assert list(result.diffs()) == list(forecast.diffs())
    assert host.commands[0] == "systemctl daemon-reload"
    assert host.commands[1:] == [
        line for unit in UNITS for line in (f"systemctl enable --quiet {unit}", f"systemctl restart {unit}")
    ]
    assert {diff.name for diff in result.files} == set(FILES) - {CA_FILE, *METRICS_FILES}
    host.commands.clear()
    again = converge(spec, host, check=False)
    assert (again.changed, list(again.diffs()), host.commands) == (False, [], [])


def test_installs_the_health_agent_as_a_program(spec, host):
    converge(spec, host, check=False)
    compile(host.text(HEALTH_AGENT_FILE), HEALTH_AGENT_FILE, "exec")
    with open(health_agent.__file__, encoding="utf-8") as stream:
        assert host.text(HEALTH_AGENT_FILE).endswith(stream.read())


def test_loads_a_new_configuration_by_a_reload(spec, new_spec, host):
    converge(spec, host, check=False)
    host.commands.clear()
    result = converge(new_spec, host, check=False)
    assert actions(result) == [(HAPROXY_UNIT, "reload")]
    assert {diff.name for diff in result.files} == {HAPROXY_FILE, CHECKSUMS_FILE}
    assert host.commands == [f"systemctl reload {HAPROXY_UNIT}"]
    assert list(result.diffs())[-1] == (f"unit {HAPROXY_UNIT}", "with another configuration\n", "reloaded\n")


def test_reloads_the_proxy_for_each_change_of_the_ca(spec, host):
    converge(spec, host, check=False)
    for ca in ("PEM", "OTHER", ""):
        result = converge(spec._replace(ca=ca), host, check=False)
        assert (HAPROXY_UNIT, "reload") in actions(result)
        assert (host.root / CA_FILE[1:]).exists() == bool(ca)


def test_finishes_a_run_that_ended_before_the_reload(spec, host):
    converge(spec, host, check=False)
    host.config_id = "another"
    host.write(LOADED_FILE, "another")
    result = converge(spec, host, check=False)
    assert not result.files
    assert actions(result) == [(HAPROXY_UNIT, "reload"), (KEEPALIVED_UNIT, "reload")]


def started(unit):
    return [f"systemctl enable --quiet {unit}", f"systemctl restart {unit}"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (CA_FILE, [f"systemctl reload {HAPROXY_UNIT}"]),
        (
            HEALTH_AGENT_FILE,
            [f"systemctl enable --quiet {HEALTH_AGENT_UNIT}", f"systemctl restart {HEALTH_AGENT_UNIT}"],
        ),
        (
            f"/etc/systemd/system/{TIMER_UNIT}",
            ["systemctl daemon-reload", f"systemctl enable --quiet {TIMER_UNIT}", f"systemctl restart {TIMER_UNIT}"],
        ),
    ],
)
def test_finishes_a_run_that_was_killed_after_it_wrote_a_file(spec, host, monkeypatch, name, expected):
    """What runs does not show that it is older than these files."""
    spec = spec._replace(ca="PEM")
    converge(spec, host, check=False)
    host.write(name, "of an earlier release")
    host.commands.clear()

    def killed(path, *_more):
        files.put_file(path, *_more)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(module, "put_file", killed)
        with pytest.raises(SystemExit):
            converge(spec, host, check=False)
    assert host.commands == []
    converge(spec, host, check=False)
    assert host.commands == expected
    assert not converge(spec, host, check=False).changed


@pytest.mark.parametrize("table", ["", "table inet tke_overlay_clb {\n\tchain other {\n\t}\n}\n"])
def test_loads_rules_that_the_kernel_lost_or_that_were_changed(spec, host, table):
    converge(spec, host, check=False)
    host.table = table
    host.commands.clear()
    assert actions(converge(spec, host, check=True)) == [(RESTORE_UNIT, "start")]
    assert not host.commands
    result = converge(spec, host, check=False)
    assert host.commands == [f"systemctl start {RESTORE_UNIT}"]
    assert list(result.diffs()) == [(f"unit {RESTORE_UNIT}", "with other rules in the kernel\n", "started\n")]
    assert not converge(spec, host, check=False).changed


def test_writes_a_file_with_another_mode_again_and_restarts_nothing(spec, host):
    converge(spec, host, check=False)
    (host.root / HAPROXY_FILE[1:]).chmod(0o666)
    result = converge(spec, host, check=False)
    assert [diff.name for diff in result.files] == [HAPROXY_FILE]
    assert "0666" in result.files[0].before
    assert not result.actions
    assert not converge(spec, host, check=False).changed


def test_restarts_the_timer_for_another_interval(spec, host):
    converge(spec, host, check=False)
    result = converge(spec._replace(restore_interval=5), host, check=False)
    assert actions(result) == [(TIMER_UNIT, "restart")]
    assert "OnUnitInactiveSec=5s" in host.text(f"/etc/systemd/system/{TIMER_UNIT}")
    with pytest.raises(ValidationError, match="overlay_restore_interval 0 is not between 1 and 86400"):
        converge(spec._replace(restore_interval=0), host, check=True)


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        (["/usr/bin/python3", "/usr/libexec/platform-python"], "/usr/bin/python3"),
        (["/usr/libexec/platform-python"], "/usr/libexec/platform-python"),
        ([], "/usr/bin/python3.99"),
    ],
)
def test_the_health_agent_runs_with_a_path_that_upgrades_keep(spec, host, monkeypatch, pythons, chosen):
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.99")
    host.pythons = pythons
    converge(spec, host, check=False)
    unit = host.text(f"/etc/systemd/system/{HEALTH_AGENT_UNIT}")
    assert f"ExecStart={chosen} {HEALTH_AGENT_FILE} " in unit


def test_restarts_a_proxy_that_has_lost_its_socket(spec, host):
    converge(spec, host, check=False)
    host.config_id = ""
    result = converge(spec, host, check=False)
    assert actions(result) == [(HAPROXY_UNIT, "restart")]
    assert not converge(spec, host, check=False).changed


def test_restarts_a_failed_unit_and_one_with_a_new_program(spec, host):
    converge(spec, host, check=False)
    host.units[KEEPALIVED_UNIT] = ("enabled", "failed")
    host.write(HEALTH_AGENT_FILE, "edited")
    result = converge(spec, host, check=False)
    assert actions(result) == [(HEALTH_AGENT_UNIT, "restart"), (KEEPALIVED_UNIT, "restart")]
    assert [action.before for action in result.actions] == ["enabled active", "enabled"]


@pytest.mark.parametrize(
    ("start", "name"), [("haproxy -c", "haproxy"), ("keepalived --config-test", "keepalived"), ("nft --check", "nft")]
)
def test_a_rejected_configuration_changes_nothing(spec, host, start, name):
    host.errors[start] = "line 7:\n  no such word"
    with pytest.raises(ValidationError) as caught:
        converge(spec, host, check=False)
    assert caught.value.problems == [f"{name} rejects its new configuration: line 7: no such word"]
    assert not host.commands
    assert not (host.root / HAPROXY_FILE[1:]).exists()


def test_reports_all_problems_of_a_host_at_once(spec, host):
    (host.root / "run/systemd/system").rmdir()
    host.addresses, host.gateway = [("eth1", "10.9.9.9", 24)], "10.0.2.3"
    with pytest.raises(ValidationError) as caught:
        converge(spec, host, check=True)
    text = "\n".join(caught.value.problems)
    assert "does not run systemd" in text
    assert (
        "host clb1 has its address 10.0.2.11 on none of its links (eth1 10.9.9.9/24): set overlay_underlay_ip" in text
    )
    assert "host clb1 has no address in 10.0.2.0/24 (overlay_clb_subnet) on any of its links (eth1 10.9.9.9/24)" in text
    assert "the VIP services 10.0.2.3 is the gateway of host clb1" in text
    assert len(caught.value.problems) == 4
    host.addresses = []
    with pytest.raises(ValidationError, match=r"on none of its links \(none\)"):
        converge(spec, host, check=True)


def test_a_vip_does_not_count_as_an_address_of_the_host(spec, host):
    host.addresses = [("eth0", "10.0.2.11", 32), ("eth1", "10.0.2.2", 32)]
    assert converge(spec, host, check=True).changed
    host.addresses = [("eth0", "10.9.9.9", 24), ("eth1", "10.0.2.2", 32)]
    with pytest.raises(ValidationError, match="has no address in"):
        converge(spec, host, check=True)


@pytest.mark.parametrize(
    ("addresses", "link"),
    [
        ([("lo", "10.0.2.50", 32), ("eth0", "10.0.2.11", 24)], "eth0"),
        ([("lo", "10.0.2.50", 24), ("lo", "10.0.2.11", 32), ("eth0", "10.0.2.11", 24)], "eth0"),
        ([("kube-ipvs0", "10.0.2.50", 32), ("eth0", "10.0.2.11", 32)], "eth0"),
        ([("eth1", "10.0.2.51", 24), ("eth0", "10.0.2.11", 24)], "eth0"),
        ([("dummy0", "10.0.2.50", 32), ("eth0", "10.9.9.9", 24), ("eth1", "10.0.2.51", 24)], "eth1"),
    ],
)
def test_the_vips_are_on_the_link_that_leads_to_their_subnet(spec, host, addresses, link):
    host.addresses = addresses
    own = "10.9.9.9" if ("eth0", "10.9.9.9", 24) in addresses else "10.0.2.11"
    converge(spec._replace(own=spec.own._replace(address=own)), host, check=False)
    text = host.text(KEEPALIVED_FILE)
    assert set(re.findall(r"/32 dev (\S+)", text)) == {link}
    assert set(re.findall(r"^    interface (\S+)", text, re.MULTILINE)) == {"eth0"}


def test_a_host_without_a_link_of_the_subnet_is_rejected(spec, host):
    host.addresses = [("eth0", "10.9.9.9", 24), ("lo", "10.0.2.11", 32), ("kube-ipvs0", "10.0.2.50", 32)]
    with pytest.raises(ValidationError, match="has no address in"):
        converge(spec, host, check=True)


def test_a_host_does_not_ping_itself(spec, host):
    """It answers itself also when it is cut off from all others."""
    host.addresses.append(("eth1", "10.0.1.22", 24))
    servers = {"clb1": "10.0.2.11:6443", "api1": "10.0.1.21:6443", "also clb1": "10.0.1.22:6443"}
    converge(spec._replace(apiservers={name.replace(" ", "-"): each for name, each in servers.items()}), host, False)
    assert "reach=10.0.1.21,10.0.2.1 " in host.text(HAPROXY_FILE)


def test_names_missing_programs_except_in_check_mode(spec, host, monkeypatch):
    monkeypatch.setattr(module, "missing_programs", lambda: ["haproxy", "keepalived"])
    host.errors["haproxy"] = "not found"
    assert converge(spec, host, check=True).changed
    with pytest.raises(
        ValidationError, match="this host has no haproxy and no keepalived: install the packages of these names"
    ):
        converge(spec, host, check=False)
    assert not host.commands


def test_searches_programs_independently_of_path(monkeypatch):
    monkeypatch.setattr(module, "PROGRAMS", ("sh", "none-of-this-name"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert missing_programs() == ["none-of-this-name"]


@pytest.mark.parametrize(
    ("start", "error", "text"),
    [
        ("ip -json -4 address", "no device", "ip -json -4 address show: no device"),
        ("ip -json -4 route", "", "ip -json -4 route show default: exit code 1"),
        ("systemctl show", "", "systemctl show: exit code 1"),
        ("systemctl show", "no bus", "systemctl show: no bus"),
        ("systemctl daemon-reload", "no bus", "systemctl daemon-reload: no bus"),
        (
            f"systemctl restart {HAPROXY_UNIT}",
            "Job failed.",
            f"systemctl restart {HAPROXY_UNIT}: Job failed.; end of its journal: a line of {HAPROXY_UNIT}; and more",
        ),
    ],
)
def test_an_error_has_the_output_of_the_program(spec, host, start, error, text):
    host.errors[start] = error
    with pytest.raises(KernelError) as caught:
        converge(spec, host, check=False)
    assert str(caught.value).startswith(text)


def test_fails_if_the_proxy_keeps_its_old_configuration(spec, host):
    host.units_obey = False
    with pytest.raises(KernelError) as caught:
        converge(spec, host, check=False)
    assert str(caught.value) == (
        f"HAProxy does not run its new configuration after 0 s; end of its journal: a line of {HAPROXY_UNIT}; and more"
    )


def test_waits_for_the_health_agent(spec, new_spec, host, monkeypatch):
    converge(spec, host, check=False)
    monkeypatch.setattr(module, "READY_SECONDS", 60)
    host.publish(health_agent.FAULTY)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        host.publish(health_agent.HEALTHY)

    monkeypatch.setattr(module.time, "sleep", sleep)
    assert converge(new_spec, host, check=False).changed
    assert waits == [0.1]


def test_fails_if_the_health_agent_stops(spec, new_spec, host):
    converge(spec, host, check=False)
    host.after_command[f"systemctl reload {HAPROXY_UNIT}"] = lambda: host.units.update(
        {HEALTH_AGENT_UNIT: ("enabled", "failed")}
    )
    with pytest.raises(KernelError) as caught:
        converge(new_spec, host, check=False)
    assert str(caught.value).startswith(f"{HEALTH_AGENT_UNIT} does not run after 0 s")
    assert f"a line of {HEALTH_AGENT_UNIT}" in str(caught.value)


def test_fails_if_the_health_agent_reports_a_fault(spec, new_spec, host):
    converge(spec, host, check=False)
    host.publish(health_agent.FAULTY)
    with pytest.raises(KernelError) as caught:
        converge(new_spec, host, check=False)
    assert str(caught.value).startswith(f"{HEALTH_AGENT_UNIT} reports that HAProxy does not answer after 0 s")
    assert f"a line of {HEALTH_AGENT_UNIT}" in str(caught.value)


def test_removes_everything_but_foreign_files(spec, host):
    converge(spec, host, check=False)
    host.write(f"{DIRECTORY}/foreign", "of another program")
    host.commands.clear()
    forecast = remove(host, check=True)
    assert (host.commands, forecast.changed) == ([], True)
    result = remove(host, check=False)
    assert list(result.diffs()) == list(forecast.diffs())
    assert host.commands == [
        *(f"systemctl disable --now {unit}" for unit in reversed(UNITS)),
        f"systemctl stop {RESTORE_UNIT}",
        "nft -f -",
        "systemctl daemon-reload",
    ]
    assert [diff.after for diff in list(result.diffs())[-len(UNITS) :]] == ["stopped\n"] * len(UNITS)
    left = {str(path.relative_to(host.root)) for path in host.root.rglob("*") if path.is_file()}
    assert left == {f"{DIRECTORY[1:]}/foreign"}
    assert not remove(host, check=False).changed


def test_removal_fails_if_the_table_stays(spec, host):
    converge(spec, host, check=False)
    assert actions(remove(host, check=True)) == [(unit, "stop") for unit in reversed(UNITS)]
    host.errors["nft -f"] = "Operation not permitted"
    with pytest.raises(KernelError, match=r"nft cannot delete table inet tke_overlay_clb: Operation not permitted"):
        remove(host, check=False)


def test_pair_of_another_cluster_is_rejected_before_a_change(spec, host):
    converge(spec._replace(cluster="lab"), host, check=False)
    host.commands.clear()
    wanted = spec._replace(cluster="demo")
    for check in (True, False):
        with pytest.raises(ValidationError) as caught:
            converge(wanted, host, check=check)
        for word in ("cluster 'lab'", "overlay_cluster is 'demo'", "-e overlay_take_over=lab"):
            assert word in str(caught.value)
    assert host.commands == []
    check_cluster("", [])
    check_cluster("lab", [])
    converge(spec, host, check=True)
    converge(wanted._replace(take_over=["lab"]), host, check=False)
    assert host.text(PAIR_CLUSTER_FILE) == "demo\n"
