# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The playbooks where there is nothing to work on: no nodes in the inventory, or no node that SSH reaches.

Without nodes each must end with an error. Without reachable nodes each must still print its last screen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from product import COLLECTION, PLAYBOOKS, PREFIX, ROOT

CONFIRMED = [f"overlay_{what}_confirmed=true" for what in ("release", "reset", "clb_release")]
NODES = """
[cloud]
a overlay_underlay_ip=10.0.1.11
b overlay_underlay_ip=10.0.1.12
[idc]
c overlay_underlay_ip=192.168.1.11
d overlay_underlay_ip=192.168.1.12
e overlay_underlay_ip=192.168.1.13
"""
GOOD = f"""[overlay_nodes:children]
cloud
idc
{NODES}
[all:vars]
ansible_host=127.0.0.1
ansible_port=1
overlay_cluster=demo
overlay_container_cidr=10.244.0.0/16
"""
ROLES = ("clb_vips", "endpoint")
WITHOUT_NODES = {
    "misspelt": (f"[overlay-nodes:children]\ncloud\nidc\n{NODES}", ["rename group overlay-nodes (5 hosts)"]),
    "hosts": (f"[overlay_nodes]\ncloud\nidc\n{NODES}", ["cloud and idc as hosts", "[overlay_nodes:children]"]),
    "broken": ("[overlay_nodes:children\ncloud]", ["has no hosts", "hosts.ini"]),
}


@pytest.fixture
def run(tmp_path):
    """Run a playbook of the collection with an inventory; return its exit code and its output."""

    def playbook(name, inventory, *arguments, collections=ROOT / "collections"):
        name = name if name.endswith(".yml") else PREFIX + name
        (tmp_path / "hosts.ini").write_text(inventory)
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.ini", name, *arguments],
            cwd=tmp_path,
            env={
                "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return playbook


def joined(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_every_playbook_begins_with_the_check_of_its_hosts(name):
    plays = yaml.safe_load((COLLECTION / f"playbooks/{name}.yml").read_text())
    assert re.search(r"\| tke\.overlay\.required_hosts\(groups\b", plays[0]["hosts"])


@pytest.mark.parametrize("kind", WITHOUT_NODES)
def test_an_inventory_without_nodes_is_an_error(run, kind):
    inventory, words = WITHOUT_NODES[kind]
    code, text = run("verify", inventory)
    assert code != 0
    for word in words:
        assert word in joined(text)


@pytest.mark.parametrize(
    "arguments",
    [("--tags", "nothing"), ("--skip-tags", "all"), ("--start-at-task", "Print the summary"), ("--limit", "lb")],
)
def test_an_option_that_skips_all_tasks_is_an_error(run, arguments):
    code, text = run("preflight", f"{GOOD}[lb]\nlb\n", *arguments)
    assert code != 0
    assert " ".join(arguments[:1]) in joined(text)
    assert "PLAY [" not in text


def test_nothing_to_check_needs_no_inventory(run):
    code, text = run("site", "", "--syntax-check")
    assert code == 0, text


def test_variables_may_refer_to_other_hosts(run):
    lines = (
        "overlay_underlay_ip={{ hostvars[inventory_hostname].private_ip }}",
        "overlay_vni={{ hostvars['a'].the_vni }}",
        "overlay_networks={{ of_first }}",
        "of_first={{ {'office': hostvars['a']['network']} }}",
        "the_vni=7",
        "network=10.9.9.0/24",
    )
    inventory = f"{GOOD}\n".replace("overlay_underlay_ip=", "private_ip=") + "\n".join(lines)
    code, text = run("preflight", inventory)
    assert code == 0, text
    assert "192.168.1.13" in text
    code, text = run("preflight", inventory.replace("{{ hostvars['a'].the_vni", "{{ hostvars['a'].no_vni"))
    assert code != 0
    assert re.search("overlay_vni is set, but cannot be evaluated: .*no_vni", joined(text))


def test_preflight_leaves_no_trace(run, tmp_path):
    code, text = run("preflight", GOOD, "--diff")
    assert code == 0, text
    assert "no conflict found; the ledger can be written; nothing was changed" in text
    assert "+node a 10.244.0.0/24" in text
    assert "changed=0" in text
    assert [path.name for path in tmp_path.iterdir() if path.name != ".ansible"] == ["hosts.ini"]


def test_preflight_reports_a_ledger_that_cannot_be_written_with_all_problems(run):
    code, text = run("preflight", GOOD, "-e", "overlay_ledger=/nowhere/x.json", "-e", "overlay_vni=0")
    assert code != 0
    for word in ("overlay_vni 0", "/nowhere/x.json cannot be written", "create its directory"):
        assert word in joined(text)


LINKED = f"""{GOOD}
overlay_links=[{{"sites": ["cloud", "idc"], "transport": "wireguard"}}, {{"sites": "branch,cloud", "mtu": "1400"}}]
[idc:vars]
overlay_wireguard_port=4500
[overlay_nodes:vars]
overlay_wireguard_port=4500
[apart]
e overlay_site=branch overlay_wireguard_endpoint=203.0.113.7:4500
"""


def test_preflight_shows_the_links_of_an_ini_inventory(run):
    code, text = run("preflight", LINKED, "--diff")
    assert code == 0, text
    for line in (
        "cloud - idc wireguard 1440 2 - 2",
        "branch - cloud vxlan 1350 1 - 2",
        "inside branch vxlan 1450 1",
        "no WireGuard key yet: a, b, c, d;",
    ):
        assert line in joined(text)
    assert "+node e 10.244.4.0/24 underlay 192.168.1.13 mtu 1500 site branch" in text


def test_every_conflict_of_links_is_found_before_a_change(run, tmp_path):
    extra = (
        '{"overlay_links": [{"sites": ["cloud", "nowhere"]}, {"sites": ["idc"], "mtu": 9000}], "overlay_port": 4500}'
    )
    code, text = run("preflight", f"{LINKED}\n[cloud:vars]\noverlay_wireguard_endpoint=none\n", "-e", extra)
    assert code != 0
    for word in ("'nowhere'", "mtu 9000", "does not cross NAT", "branch - cloud", "cloud - idc"):
        assert word in joined(text)
    assert not (tmp_path / "overlay-ledger.json").exists()


def with_module(path, name, text):
    """Return a directory of collections with this collection, one module of which has another text."""
    place = path / "ansible_collections/tke/overlay"
    for part in ("", "plugins", "plugins/modules"):
        (place / part).mkdir(parents=True, exist_ok=True)
        for entry in (COLLECTION / part).iterdir():
            if f"{part}/{entry.name}".strip("/") not in ("plugins", "plugins/modules", f"plugins/modules/{name}.py"):
                (place / part / entry.name).symlink_to(entry)
    (place / "plugins/modules" / f"{name}.py").write_text(text)
    return path


HOST_OF_THE_PAIR = """\
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({
    "state": {}, "cluster": {}, "take_over": {"type": "raw"}, "name": {}, "vips": {"type": "raw"}, "subnet": {},
    **{name: {"type": "raw"} for name in ("pair", "apiservers", "services", "listeners", "ca", "metrics_dir")},
    **{name: {"type": "int"} for name in ("api_port", "metrics_port", "vrid", "restore_interval")},
}, supports_check_mode=True)
step = "check" if module.check_mode else "change"
if f"{module.params['name']} {step}" in FAILS:
    module.fail_json(msg=f"the {step} of {module.params['name']} failed")
module.exit_json(changed=True, changes={"files": ["haproxy.cfg"], "units": []}, missing=[])
"""
PAIR = """
overlay_clb_subnet=10.0.2.0/24
[clb]
clb1 overlay_underlay_ip=10.0.2.11
clb2 overlay_underlay_ip=10.0.2.12
[apiserver]
api1 overlay_underlay_ip=10.0.1.21
"""


@pytest.mark.parametrize(
    ("fails", "reached", "changed", "words"),
    [
        ([], ["clb1", "clb2"], {"clb1", "clb2"}, []),
        (["clb1 change"], ["clb1", "clb2"], set(), ["change of clb1 failed", "not changed, because clb1 failed"]),
        (["clb1 check"], ["clb1", "clb2"], set(), ["check of clb1 failed", "not changed, because clb1 failed"]),
        (["clb2 check"], ["clb1", "clb2"], set(), ["check of clb2 failed", "not changed, because clb2 failed"]),
        (["clb2 change"], ["clb1", "clb2"], {"clb1"}, ["change of clb2 failed"]),
        ([], ["clb2"], {"clb2"}, ["the connection to its SSH port was refused"]),
    ],
)
def test_one_host_of_the_pair_is_changed_at_a_time(run, tmp_path, fails, reached, changed, words):
    """The other host keeps what it has after a failure; it does not wait for one that was not reached at all."""
    collections = with_module(tmp_path / "collections", "clb", HOST_OF_THE_PAIR.replace("FAILS", repr(fails)))
    inventory = GOOD + PAIR
    for host in reached:
        inventory = inventory.replace(
            f"{host} ", f"{host} ansible_connection=local ansible_python_interpreter={sys.executable} "
        )
    code, text = run("site", inventory, "--limit", "clb", collections=collections)
    assert (code != 0) is bool(words), text
    for word in words:
        assert word in joined(text), text
    of_pair = text.partition("TASK [tke.overlay.clb : Stop where")[2]  # after the choice of the VIPs
    assert set(re.findall(r"^changed: \[(\w+)\]$", of_pair, re.MULTILINE)) == changed, text


def test_the_pair_must_be_part_of_its_release(run):
    code, text = run("clb_release", GOOD, "-e", CONFIRMED[2])
    assert code != 0
    assert "group clb has no hosts" in joined(text)
    code, text = run("clb_release", f"{GOOD}[clb]\np\nq\n", "-e", CONFIRMED[2], "--limit", "p")
    assert code != 0
    assert "q is left out by --limit" in joined(text)
    code, text = run("clb_release", GOOD, "-e", CONFIRMED[2], "-e", "overlay_clb_provider=external")
    assert code != 0
    assert "there is no ledger at" in joined(text)


@pytest.mark.parametrize("value", ["", ",", "!a"])
def test_a_reset_without_names_removes_nothing(run, value):
    code, text = run("reset", GOOD, "-e", CONFIRMED[1], "-e", f"overlay_reset={value}")
    assert code != 0
    assert f"overlay_reset '{value}' names no host, and nothing was changed" in joined(text)
    assert "TASK [" not in text


def test_the_addresses_of_a_pair_that_is_gone_are_released(run, tmp_path):
    ledger = tmp_path / "overlay-ledger.json"
    code, text = run("site", GOOD + PAIR)
    vips = json.loads(ledger.read_text())["vips"]
    assert len(vips) == 2, text
    code, text = run("clb_release", GOOD + PAIR, "-e", CONFIRMED[2])
    assert code != 0
    for words in ("could not be removed from clb1: unreachable", "not exist any more, set -e overlay_clb_provider=ext"):
        assert words in joined(text)
    assert json.loads(ledger.read_text())["vips"] == vips
    external = ("-e", CONFIRMED[2], "-e", "overlay_clb_provider=external")
    code, text = run("clb_release", GOOD + PAIR, *external, "--check")
    assert code == 0, text
    assert "The two addresses would be free" in joined(text)
    assert len(re.findall("changed: ", text)) == 1, "not for the check before the release"
    assert json.loads(ledger.read_text())["vips"] == vips
    code, text = run("clb_release", GOOD + PAIR, *external)
    assert code == 0, text
    assert "The two addresses are free" in joined(text)
    assert json.loads(ledger.read_text())["vips"] == {}


def test_the_new_place_of_the_ledger_is_required(run):
    code, text = run("ledger", GOOD)
    assert code != 0
    assert "Nothing was moved. Set the new place of the ledger with -e overlay_ledger_to" in joined(text)


def test_the_configuration_of_kubernetes_needs_no_host(run, tmp_path):
    inventory = f"{GOOD}overlay_kubernetes_distribution=k3s\n[apiserver]\na\n"
    code, text = run("kubernetes_config", inventory)
    assert code == 0, text
    for word in ("changed=1", f"The configuration of 5 hosts is in {tmp_path}/kubernetes", "hosts lack overlay_kubern"):
        assert word in joined(text)
    assert sorted(path.name for path in (tmp_path / "kubernetes").iterdir()) == [f"{host}.yaml" for host in "abcde"]
    assert not (tmp_path / "overlay-ledger.json").exists()
    code, text = run("kubernetes_config", inventory, "--check", "-e", "overlay_kubernetes_dest=other")
    assert "would be in" in joined(text)
    assert not (tmp_path / "other").exists()
    wrong = ("overlay_kubernetes_max_pods=254", "overlay_kubernetes_dns=10.96.0.10", "overlay_kubernetes_token=a")
    code, text = run("kubernetes_config", inventory.replace("=k3s", "=kubeadm"), *(f"-e{each}" for each in wrong))
    assert code != 0
    for word in (
        "3 problems, and nothing was changed",
        "max_pods 254",
        "253 usable",
        "10.96.0.10",
        "kubeadm token generate",
    ):
        assert word in joined(text)


def test_every_playbook_prints_its_last_screen_without_reachable_hosts(run, tmp_path):
    """One after the other, because they need the ledger of the first; whatever the user's ansible.cfg says."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\nany_errors_fatal = true\nstrategy = free\n")
    refused = "a, b, c, d, e: the connection to its SSH port was refused: check ansible_port"
    for name, arguments, fails, words in (
        ("site", (), True, ["5 hosts: 0 changed, 0 unchanged, 5 not done", refused]),
        ("site", ("-e", "overlay_serial=2"), True, ["5 not done", "c, d, e: not started"]),
        ("rollout", (), True, ["a, b: 0 of 2 changed; remaining: c, d, e", "unreachable: c, d, e", "5 not done"]),
        ("status", (), False, ["unreachable", refused]),
        ("verify", (), True, ["unhealthy: 0 of 0 probed pairs", refused]),
        ("conformance", (), True, ["unreachable for Ansible: a, b, c, d", "ansible_port"]),
        ("report", (), False, ["The network is not healthy"]),
        ("rebuild_ledger", ("-e", "overlay_ledger=other.json"), True, ["no reachable host has a saved state"]),
        ("rotate_keys", (), True, ["Nothing was changed", "no link has the transport wireguard"]),
        ("reset", ("-e", CONFIRMED[1]), True, ["5 hosts: 0 reset, 0 without the overlay, 5 not done", refused]),
        (
            "release",
            ("-e", CONFIRMED[0], "-e", "overlay_release=e"),
            True,
            ["Still in the inventory: e", "Not reached or not configured: a, b, c, d", "unreachable: the connection"],
        ),
    ):
        code, text = run(name, GOOD, *arguments)
        assert (code != 0) == fails, f"{name}: {text}"
        if name == "site":  # Ansible starts a process for each host to skip a task: only the first host may skip one
            assert set(re.findall(r"skipping: \[(\w+)\]", text.partition("PLAY [Fail where")[0])) == {"a"}, text
        for word in words:
            assert word in joined(text), f"{name}: {text}"
        assert (tmp_path / "overlay-ledger.json").exists()


METERED = ("site", "status", "report", "release", "rebuild_ledger")


@pytest.mark.parametrize("name", METERED)
def test_a_playbook_that_changes_the_ledger_writes_metrics(name):
    tasks = [
        each for play in yaml.safe_load((COLLECTION / f"playbooks/{name}.yml").read_text()) for each in play["tasks"]
    ]
    (given,) = [each["tke.overlay.metrics"] for each in tasks if "tke.overlay.metrics" in each]
    assert given["playbook"] == name
    assert given["results"]


def test_the_metrics_of_the_controller_follow_a_release(run, tmp_path):
    inventory = f"{GOOD}overlay_controller_metrics_dir={tmp_path}\n"
    run("site", inventory)
    run("release", inventory, "-e", CONFIRMED[0], "-e", "overlay_release=e")
    assert (
        'node_cidrs{cluster="demo",state="assigned"} 4' in (tmp_path / "tke_overlay_controller_demo.prom").read_text()
    )
    text = (tmp_path / "tke_overlay_controller_demo_release.prom").read_text()
    assert 'hosts_not_reached{cluster="demo",playbook="release"} 4' in text, "the released host does not count"


@pytest.mark.parametrize(
    ("name", "arguments", "first"),
    [
        ("release", (CONFIRMED[0], "overlay_release=e"), "Remove the overlay from reachable nodes"),
        ("clb_release", (CONFIRMED[2],), "Remove the load balancer from the pair"),
        (
            "site",
            ('{"overlay_links": [{"sites": ["cloud", "idc"], "transport": "wireguard"}]}',),
            "Make the WireGuard key of the host",
        ),
    ],
)
def test_a_read_only_ledger_stops_before_hosts_change(run, tmp_path, name, arguments, first):
    inventory = f"{GOOD}overlay_clb_subnet=10.0.9.0/24\n[clb]\na\nb\n[apiserver]\nc\n"
    options = [option for argument in arguments for option in ("-e", argument)]
    run("site", inventory)
    lock = tmp_path / ".overlay-ledger.json.lock"
    lock.unlink()
    lock.mkdir()  # nobody can lock it, not even root
    code, text = run(name, inventory, *options)
    assert code != 0
    assert "overlay-ledger.json cannot be written" in joined(text)
    assert f"{first}]" not in text
    lock.rmdir()
    _code, text = run(name, inventory, *options)
    assert f"{first}]" in text


def test_a_variable_of_one_host_selects_the_play_of_the_endpoint(run):
    """Most runs need no such play, which has hosts only if a variable of some host asks for it."""
    vips = '{"apiserver": "10.0.9.4", "services": "10.0.9.5"}'
    inventory = f"{GOOD}overlay_clb_provider=external\noverlay_clb_vips={vips}\n"
    kubeconfig = inventory.replace("192.168.1.13", "192.168.1.13 overlay_kubeconfigs='[\"/etc/kubelet.conf\"]'")
    empty = kubeconfig.replace('["/etc/kubelet.conf"]', "[]")
    for given, selected in ((inventory, False), (kubeconfig, True), (empty, False)):
        _code, text = run("site", given)
        play = text.partition("PLAY [Configure the API endpoint on the nodes]")[2].partition("PLAY [")[0]
        assert ("TASK [" in play) is selected, text


def test_the_endpoint_needs_a_ca_or_a_kubeconfig(run, tmp_path):
    """An empty list is the default of overlay_kubeconfigs, and no kubeconfig."""
    roles = "".join(
        f"  - {{name: Role, ansible.builtin.import_role: {{name: tke.overlay.{name}}}}}\n" for name in ROLES
    )
    (tmp_path / "play.yml").write_text(f"- hosts: a\n  gather_facts: false\n  tasks:\n{roles}")
    local = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    vips = '{"apiserver": "10.0.9.4", "services": "10.0.9.5"}'
    inventory = (
        f"{GOOD.replace('a overlay', f'a {local} overlay')}overlay_clb_provider=external\noverlay_clb_vips={vips}\n"
    )
    code, text = run("play.yml", f"{inventory}overlay_kubeconfigs=[]\n", "--check")
    assert code == 0, text
    assert "skipping: [a]" in text
