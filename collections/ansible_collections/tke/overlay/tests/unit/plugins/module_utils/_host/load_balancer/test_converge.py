# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of the pair: how it is made, and what is said where something refuses. What it does then is for the lab."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import converge as clb
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent as clb_watch
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    AGENT_FILE,
    AGENT_UNIT,
    CA_FILE,
    DIRECTORY,
    HAPROXY_FILE,
    KEEPALIVED_FILE,
    LOADED,
    PROXY_UNIT,
    RULES_FILE,
    RUN_DIRECTORY,
    UNITS,
    VIPS_UNIT,
    PairHost,
    PairSpec,
    Proxied,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.converge import (
    FILES,
    converge,
    missing_programs,
    remove,
)

SPEC = PairSpec(
    own=PairHost("clb1", "10.0.2.11"),
    peer=PairHost("clb2", "10.0.2.12"),
    home="apiserver",
    vips={"apiserver": "10.0.2.2", "services": "10.0.2.3"},
    subnet="10.0.2.0/24",
    apiservers={"api1": "10.0.1.21:6443"},
    api_port=6443,
    services=[Proxied("registry.example.net", ["10.0.1.31:443"])],
    listeners=[],
    ca="",
    metrics_port=8405,
    vrid=84,
)


class Machine:
    """A host whose programs do what they are told, unless a test says otherwise; it notes what changes something."""

    def __init__(self, root):
        self.root = root
        self.addresses = [("eth0", "10.0.2.11", 24)]
        self.gateway = "10.0.2.1"
        self.refuses = {}  # the beginning of a command -> what it says
        self.units = {}
        self.config = ""  # the name of the configuration that the proxy runs
        self.takes = True
        self.done = []
        (root / "run/systemd/system").mkdir(parents=True)

    def __call__(self, command, text):
        line = " ".join(command)
        for start, words in self.refuses.items():
            if line.startswith(start):
                return 1, "", words
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
            return 0, f"the last words of {command[-1]}\n\nand more\n", ""
        if command[0] in ("haproxy", "keepalived") or "--check" in command:
            return 0, "", ""
        self.done.append(line)
        self.obey(line.split())
        return 0, "", ""

    def obey(self, words):
        if words[1] == "enable":
            self.units[words[-1]] = ("enabled", "inactive")
        if words[1] in ("restart", "reload") and self.takes:
            self.units[words[-1]] = ("enabled", "active")
            if words[-1] == PROXY_UNIT:
                self.config = clb._config_of(self.text(HAPROXY_FILE))
            if words[-1] == VIPS_UNIT:
                self.write(LOADED, self.text(RULES_FILE) + self.text(KEEPALIVED_FILE))
            if words[-1] == AGENT_UNIT:
                self.tells(100)
        if words[1] == "disable":
            self.units.pop(words[-1])

    def tells(self, value):
        for vip in SPEC.vips:
            self.write(f"{RUN_DIRECTORY}/{vip}", f"{value}\n")

    def write(self, name, text):
        path = self.root / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def text(self, name):
        return (self.root / name[1:]).read_text()

    def ask(self, path):
        if not self.config:
            raise ConnectionRefusedError
        return {"config": self.config}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(clb, "READY_SECONDS", 0)
    monkeypatch.setattr(clb, "missing_programs", list)
    monkeypatch.setattr(clb_watch, "ask", made.ask)
    return made


def acts(outcome):
    return [(act.unit, act.verb) for act in outcome.acts]


def test_a_new_host_gets_its_files_first_then_its_units_in_order_and_a_second_run_does_nothing(machine):
    foreseen = converge(SPEC, machine, check=True)
    assert (machine.done, foreseen.changed) == ([], True)
    outcome = converge(SPEC, machine, check=False)
    assert list(outcome.diffs()) == list(foreseen.diffs())
    assert machine.done[0] == "systemctl daemon-reload"
    assert machine.done[1:] == [
        line for unit in UNITS for line in (f"systemctl enable --quiet {unit}", f"systemctl restart {unit}")
    ]
    assert {diff.name for diff in outcome.files} == set(FILES) - {CA_FILE}
    machine.done.clear()
    again = converge(SPEC, machine, check=False)
    assert (again.changed, list(again.diffs()), machine.done) == (False, [], [])


def test_a_new_configuration_is_taken_with_a_reload(machine):
    converge(SPEC, machine, check=False)
    machine.done.clear()
    outcome = converge(SPEC._replace(apiservers={"api9": "10.0.1.29:6443"}), machine, check=False)
    assert acts(outcome) == [(PROXY_UNIT, "reload")]
    assert machine.done == [f"systemctl reload {PROXY_UNIT}"]
    assert list(outcome.diffs())[-1] == (f"unit {PROXY_UNIT}", "with another configuration\n", "reloaded\n")


def test_a_ca_comes_and_goes_as_a_file_and_the_proxy_reads_it_anew_each_time(machine):
    converge(SPEC, machine, check=False)
    for ca in ("PEM", "OTHER", ""):
        outcome = converge(SPEC._replace(ca=ca), machine, check=False)
        assert (PROXY_UNIT, "reload") in acts(outcome)
        assert (machine.root / CA_FILE[1:]).exists() == bool(ca)


def test_a_run_that_died_before_the_reload_is_finished_by_the_next(machine):
    converge(SPEC, machine, check=False)
    machine.config = "another"
    machine.write(LOADED, "another")
    outcome = converge(SPEC, machine, check=False)
    assert not outcome.files
    assert acts(outcome) == [(PROXY_UNIT, "reload"), (VIPS_UNIT, "reload")]


def test_a_unit_that_somebody_stopped_or_whose_program_changed_is_started_anew(machine):
    converge(SPEC, machine, check=False)
    machine.units[VIPS_UNIT] = ("enabled", "failed")
    machine.write(AGENT_FILE, "edited")
    outcome = converge(SPEC, machine, check=False)
    assert acts(outcome) == [(AGENT_UNIT, "restart"), (VIPS_UNIT, "restart")]
    assert [act.before for act in outcome.acts] == ["enabled active", "enabled"]


@pytest.mark.parametrize(
    ("start", "name"), [("haproxy -c", "haproxy"), ("keepalived --config-test", "keepalived"), ("nft --check", "nft")]
)
def test_a_configuration_that_its_own_program_refuses_changes_nothing(machine, start, name):
    machine.refuses[start] = "line 7:\n  no such word"
    with pytest.raises(ValidationError) as caught:
        converge(SPEC, machine, check=False)
    assert caught.value.problems == [f"{name} refuses its new configuration: line 7: no such word"]
    assert not machine.done
    assert not (machine.root / HAPROXY_FILE[1:]).exists()


def test_all_that_keeps_a_host_from_being_one_of_the_pair_is_told_at_once(machine):
    (machine.root / "run/systemd/system").rmdir()
    machine.addresses, machine.gateway = [("eth1", "10.9.9.9", 24)], "10.0.2.3"
    with pytest.raises(ValidationError) as caught:
        converge(SPEC, machine, check=True)
    said = "\n".join(caught.value.problems)
    assert "does not run systemd" in said
    assert (
        "host clb1 has its address 10.0.2.11 on none of its links (eth1 10.9.9.9/24): set overlay_underlay_ip" in said
    )
    assert "host clb1 has no address in 10.0.2.0/24 (overlay_clb_subnet) on any of its links (eth1 10.9.9.9/24)" in said
    assert "the VIP services 10.0.2.3 is the gateway of host clb1" in said
    assert len(caught.value.problems) == 4
    machine.addresses = []
    with pytest.raises(ValidationError, match=r"on none of its links \(none\)"):
        converge(SPEC, machine, check=True)


def test_a_vip_that_the_host_carries_is_no_address_of_its_own(machine):
    machine.addresses = [("eth0", "10.0.2.11", 32), ("eth1", "10.0.2.2", 32)]
    assert converge(SPEC, machine, check=True).changed
    machine.addresses = [("eth0", "10.9.9.9", 24), ("eth1", "10.0.2.2", 32)]
    with pytest.raises(ValidationError, match="has no address in"):
        converge(SPEC, machine, check=True)


def test_programs_that_are_missing_are_named_before_anything_is_written_and_check_mode_goes_on(machine, monkeypatch):
    monkeypatch.setattr(clb, "missing_programs", lambda: ["haproxy", "keepalived"])
    machine.refuses["haproxy"] = "not found"
    assert converge(SPEC, machine, check=True).changed
    with pytest.raises(
        ValidationError, match="this host has no haproxy and no keepalived: install the packages of these names"
    ):
        converge(SPEC, machine, check=False)
    assert not machine.done


def test_programs_are_looked_for_where_the_distribution_puts_them(monkeypatch):
    monkeypatch.setattr(clb, "PROGRAMS", ("sh", "none-of-this-name"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert missing_programs() == ["none-of-this-name"]


@pytest.mark.parametrize(
    ("start", "words", "said"),
    [
        ("ip -json -4 address", "no device", "ip -json -4 address show: no device"),
        ("ip -json -4 route", "", "ip -json -4 route show default: exit code 1"),
        ("systemctl show", "", "systemctl show: exit code 1"),
        ("systemctl show", "no bus", "systemctl show: no bus"),
        ("systemctl daemon-reload", "no bus", "systemctl daemon-reload: no bus"),
        (
            f"systemctl restart {PROXY_UNIT}",
            "Job failed.",
            f"systemctl restart {PROXY_UNIT}: Job failed.; its last words: the last words of {PROXY_UNIT}; and more",
        ),
    ],
)
def test_what_a_program_says_is_in_the_error(machine, start, words, said):
    machine.refuses[start] = words
    with pytest.raises(KernelError) as caught:
        converge(SPEC, machine, check=False)
    assert str(caught.value).startswith(said)


def test_the_other_host_waits_until_the_proxy_says_that_it_runs_the_new_configuration(machine):
    machine.takes = False
    with pytest.raises(KernelError) as caught:
        converge(SPEC, machine, check=False)
    assert str(caught.value).startswith("HAProxy does not run its new configuration after 0 s; its last words: ")


def test_it_waits_for_what_comes_late(machine, monkeypatch):
    converge(SPEC, machine, check=False)
    monkeypatch.setattr(clb, "READY_SECONDS", 60)
    machine.tells(clb_watch.FAULT)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        machine.tells(100)

    monkeypatch.setattr(clb.time, "sleep", sleep)
    clb._verify(clb._wanted(SPEC, clb._insist(SPEC, machine)), machine)
    assert waits == [0.1]


def test_it_says_what_is_not_fit_and_whose_journal_knows_more(machine):
    converge(SPEC, machine, check=False)
    wanted = clb._wanted(SPEC, clb._insist(SPEC, machine))
    machine.units[AGENT_UNIT] = ("enabled", "failed")
    assert clb._unfit(wanted, machine) == (f"{AGENT_UNIT} does not run", AGENT_UNIT)
    machine.units[AGENT_UNIT] = ("enabled", "active")
    machine.tells(clb_watch.FAULT)
    assert clb._unfit(wanted, machine) == (f"{AGENT_UNIT} finds that HAProxy does not answer", AGENT_UNIT)


def test_it_leaves_with_all_that_is_its_own_and_nothing_else(machine):
    converge(SPEC, machine, check=False)
    machine.write(f"{DIRECTORY}/mine", "somebody else's")
    machine.done.clear()
    foreseen = remove(machine, check=True)
    assert (machine.done, foreseen.changed) == ([], True)
    outcome = remove(machine, check=False)
    assert list(outcome.diffs()) == list(foreseen.diffs())
    assert machine.done == [
        *(f"systemctl disable --now {unit}" for unit in reversed(UNITS)),
        "nft -f -",
        "systemctl daemon-reload",
    ]
    assert [diff.after for diff in list(outcome.diffs())[-len(UNITS) :]] == ["stopped\n"] * len(UNITS)
    left = {str(path.relative_to(machine.root)) for path in machine.root.rglob("*") if path.is_file()}
    assert left == {f"{DIRECTORY[1:]}/mine"}
    assert not remove(machine, check=False).changed


def test_a_table_that_cannot_be_deleted_is_told_and_the_units_are_named_with_what_was_done(machine):
    converge(SPEC, machine, check=False)
    assert [act.verb for act in remove(machine, check=True).acts] == ["stop"] * len(UNITS)
    machine.refuses["nft -f"] = "Operation not permitted"
    with pytest.raises(KernelError, match=r"nft cannot delete table inet tke_overlay_clb: Operation not permitted"):
        remove(machine, check=False)
