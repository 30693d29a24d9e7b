# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action kubernetes_config: which host becomes what, where the values come from, and which files it writes."""

from __future__ import annotations

import stat
import types

import pytest
import yaml

from ansible_collections.tke.overlay.plugins.action.kubernetes_config import ActionModule
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

HOSTS = {
    "api1": {"ansible_host": "10.0.1.21"},
    "api2": {"ansible_host": "10.0.1.22"},
    "cloud1": {"ansible_host": "203.0.113.7", "overlay_underlay_ip": "10.0.1.11"},
    "idc1": {"ansible_host": "192.168.1.11", "overlay_kubernetes_node": "idc1.example.net"},
}
GROUPS = {
    "overlay_nodes": ["cloud1", "api1", "idc1"],
    "cloud": ["cloud1", "api1"],
    "idc": ["idc1"],
    "apiserver": ["api1", "api2"],
}
PLAN = {
    "service_cidr": "10.244.255.0/24",
    "capacity": {"usable_pods_per_node": 253},
    "document": {"container_cidr": ["10.244.0.0/16"], "bridge": "tke-br0", "cluster": "demo"},
}
VIPS = {"apiserver": "10.0.2.8", "services": "10.0.2.9"}


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the action with options, variables of all hosts and of single ones."""

    def task(check=False, variables=None, hosts=None, groups=None, **given):
        action = ActionModule.__new__(ActionModule)
        action._task = types.SimpleNamespace(check_mode=check, diff=True)
        defaults = {name: option.get("default") for name, option in action.options.items()}
        hostvars = {name: {**HOSTS[name], **(variables or {}), **(hosts or {}).get(name, {})} for name in HOSTS}
        task_vars = {"groups": groups or GROUPS, "hostvars": hostvars, "inventory_dir": str(tmp_path)}
        task_vars["ansible_inventory_sources"] = [str(tmp_path / "hosts.yml")]
        return action.work({**defaults, "plan": PLAN, "vips": VIPS, **given}, task_vars)

    return task


@pytest.fixture
def write(run, tmp_path):
    """Return a function that runs the action with a directory for the files."""
    return lambda **given: run(dest=str(tmp_path / "kubernetes"), **given)


def kinds(text):
    return [document["kind"] for document in yaml.safe_load_all(text)]


def problems(call, **given):
    with pytest.raises(ValidationError) as caught:
        call(**given)
    return caught.value.problems


def test_the_groups_say_what_each_host_becomes(run):
    result = run()
    assert result["hosts"] == {"api1": "first", "api2": "server", "cloud1": "node", "idc1": "node"}
    assert kinds(result["documents"]["api1"])[0] == "InitConfiguration"
    assert kinds(result["documents"]["api2"]) == kinds(result["documents"]["idc1"]) == ["JoinConfiguration"]
    assert not result["changed"]


def test_values_come_from_plan_and_inventory(run):
    result = run()
    assert result["values"] == {
        "endpoint": "api.demo.internal:6443",
        "vip": "10.0.2.8",
        "service_cidr": "10.244.255.0/24",
        "container_cidr": ["10.244.0.0/16"],
        "dns": "10.244.255.10",
        "max_pods": 110,
        "cert_sans": ["api.demo.internal", "10.0.2.8"],
    }
    assert '"10.0.1.11"' in result["documents"]["cloud1"]
    assert '"idc1.example.net"' in result["documents"]["idc1"]


def test_values_of_a_host_override_those_of_the_plan(run):
    hosts = {"idc1": {"overlay_kubernetes_node_ip": "192.168.9.9", "overlay_kubernetes_node": "n9"}}
    extra = {"JoinConfiguration": {"nodeRegistration": {"criSocket": "unix:///run/x.sock"}}}
    result = run(hosts=hosts, variables={"overlay_kubernetes_extra": extra}, max_pods=50, api_name="k.example.net")
    assert result["values"]["endpoint"] == "k.example.net:6443"
    assert result["values"]["max_pods"] == 50
    for word in ('"192.168.9.9"', '"n9"', "unix:///run/x.sock"):
        assert word in result["documents"]["idc1"]


def test_a_host_outside_the_overlay_or_without_pods_is_a_warning(run):
    (kubelet,) = [text for text in run()["warnings"] if "NotReady" in text]
    assert kubelet.startswith("api2:")
    (kubelet,) = [text for text in run(hosts={"api1": {"overlay_pods": "no"}})["warnings"] if "NotReady" in text]
    assert kubelet.startswith("api1, api2:")


def test_a_single_api_server_needs_no_load_balancer(run):
    groups = {**GROUPS, "apiserver": ["api1"]}
    assert run(vips={}, groups=groups)["values"]["endpoint"] == "10.0.1.21:6443"
    (problem,) = problems(run, vips={})
    assert "api1, api2 have no common name" in problem


def test_only_listeners_of_the_pair_are_known(run):
    listener = {"name": "x", "port": "9345", "backends": [], "vip": "apiserver"}
    assert run(distribution="rke2", listeners=[listener])["hosts"]
    for given in ({}, {"listeners": [{**listener, "vip": "services"}]}):
        (problem,) = problems(run, distribution="rke2", **given)
        assert "overlay_clb_listeners" in problem
    assert run(distribution="rke2", provider="external")["hosts"]


def test_files_are_written_once_and_only_for_their_owner(write, tmp_path):
    result = write()
    assert result["changed"]
    assert result["files"] == [str(tmp_path / f"kubernetes/{host}.yaml") for host in result["hosts"]]
    for path in (tmp_path / "kubernetes").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "kubernetes").stat().st_mode) == 0o700
    again = write()
    assert not again["changed"]
    assert "diff" not in again
    assert "documents" not in again


def test_a_file_that_others_can_read_is_a_change(write, tmp_path):
    write()
    (tmp_path / "kubernetes/idc1.yaml").chmod(0o644)
    assert write()["changed"]
    assert stat.S_IMODE((tmp_path / "kubernetes/idc1.yaml").stat().st_mode) == 0o600


def test_check_mode_writes_nothing_and_shows_the_same_diff(write, tmp_path):
    token = "abcdef.0123456789abcdef"
    checked = write(check=True, token=token)
    assert not (tmp_path / "kubernetes").exists()
    real = write(token=token)
    assert checked["changed"]
    assert checked["diff"] == real["diff"]
    assert token in (tmp_path / "kubernetes/idc1.yaml").read_text()
    assert token not in str(real)


def test_foreign_files_are_never_overwritten(write, tmp_path):
    (tmp_path / "kubernetes").mkdir()
    for host in ("api1", "idc1"):
        (tmp_path / f"kubernetes/{host}.yaml").write_text("x: 1\n")
    found = problems(write)
    assert len(found) == 2
    assert all("was not written by this module" in problem for problem in found)
    assert (tmp_path / "kubernetes/api1.yaml").read_text() == "x: 1\n"
    assert not (tmp_path / "kubernetes/api2.yaml").exists()


def test_the_file_of_a_former_host_is_a_warning(write, tmp_path):
    write()
    (tmp_path / "kubernetes/other.yaml").write_text("x: 1\n")
    (warning,) = [text for text in write(groups={**GROUPS, "apiserver": ["api1"]})["warnings"] if "delete" in text]
    assert "api2.yaml" in warning
    assert "other.yaml" not in warning


@pytest.mark.parametrize(
    ("dest", "words"),
    [("none/kubernetes", ["none does not exist", "create it"]), ("hosts.yml", ["is not a directory"])],
)
def test_a_directory_that_cannot_be_written_is_an_error(run, tmp_path, dest, words):
    (tmp_path / "hosts.yml").write_text("")
    (problem,) = problems(run, dest=str(tmp_path / dest))
    assert problem.startswith("overlay_kubernetes_dest is ")
    for word in words:
        assert word in problem


def test_ansible_must_not_read_the_files_as_an_inventory(run, tmp_path):
    (tmp_path / "hosts.yml").mkdir()  # the source of the inventory is this directory
    (problem,) = problems(run, dest=str(tmp_path / "hosts.yml/kubernetes"))
    assert "inside the inventory directory" in problem


def test_the_cluster_has_one_value_of_each_variable(run):
    (problem,) = problems(run, hosts={"api2": {"overlay_kubernetes_max_pods": 50}})
    for word in ("overlay_kubernetes_max_pods must be the same", "50 for api2", "group_vars/all"):
        assert word in problem


def test_secrets_that_differ_are_not_shown(run):
    (problem,) = problems(run, hosts={"api2": {"overlay_kubernetes_token": "abcdef.0123456789abcdef"}})
    assert problem.startswith("overlay_kubernetes_token must be the same for the whole cluster")
    assert "abcdef" not in problem
    (problem,) = problems(run, variables={"overlay_kubernetes_token": "secret\n"})
    assert problem.startswith("overlay_kubernetes_token is not one line of text")
    assert "secret" not in problem.replace("overlay_kubernetes_token", "")


def test_variables_of_hosts_have_their_types(run):
    (problem,) = problems(run, hosts={"idc1": {"overlay_kubernetes_extra": ["x"]}})
    assert "overlay_kubernetes_extra ['x'] is a list: set a dictionary" in problem
