# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts, kernels and files may say that is rare: each is read right, or refused by its name."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import parse, shown
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.yaml_spans import Scalar, Unreadable, read
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.node import status as info
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import SERVICE, STATE, TIMER


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def says(answers):
    """A host on which a command that begins so prints that; all others fail."""

    def run(command, text):
        line = " ".join(command)
        found = next((out for start, out in answers.items() if line.startswith(start)), None)
        return (
            (1, "", "no such thing")
            if found is None
            else (0, found if isinstance(found, str) else json.dumps(found), "")
        )

    return run


# --- the FDB, the way to the load balancer ---


def test_an_entry_is_known_by_what_it_has():
    mac, group = "0a:58:0a:f4:01:00", "01:00:5e:00:00:01"
    rows = [
        {"mac": mac, "dst": "10.0.1.12", "state": "permanent"},
        {"mac": group, "ifname": "tke0", "state": "permanent"},
        {"mac": "0a:58:0a:f4:02:00", "nhid": 7, "state": "permanent"},
        {"mac": "0a:58:0a:f4:03:00", "dst": "10.0.1.13", "port": 4789},
    ]
    present = FdbTable("tke0").read(says({"bridge": rows}))
    assert {key: (entry.spec, entry.managed) for key, entry in present.items()} == {
        mac: ("dst 10.0.1.12", True),
        "0a:58:0a:f4:02:00 nhid 7": ("nhid 7", True),
        "0a:58:0a:f4:03:00": ("dst 10.0.1.13 port 4789 dynamic", False),
    }


@pytest.mark.parametrize(
    ("subnet", "gateway", "answer", "said"),
    [
        ("10.0.2.9/24", "10.0.1.1", None, "the subnet of the route: 10.0.2.9/24 has host bits set"),
        ("fd00::/64", "10.0.1.1", None, "the subnet of the route, fd00::/64, is not of IPv4: such a route is not kept"),
        ("10.0.2.0/24", "router", None, "the gateway of the route, router, is no IPv4 address"),
        ("10.0.2.0/24", "10.0.1.1", None, "the gateway of the route, 10.0.1.1, cannot be reached: "),
        (
            "10.0.2.0/24",
            "10.9.9.9",
            [{"gateway": "10.0.1.1", "dev": "eth0"}],
            "10.9.9.9, is in no network of this host",
        ),
        ("10.0.2.0/24", "127.0.0.1", [{"type": "local", "dev": "lo"}], "127.0.0.1, is in no network of this host"),
    ],
)
def test_a_way_that_cannot_be_is_refused(subnet, gateway, answer, said):
    answers = {"ip -4 -json route show": []}
    if answer is not None:
        answers["ip -4 -json route get"] = answer
    with pytest.raises(ValidationError) as caught:
        find_route("", subnet, gateway, says(answers))
    assert said in str(caught.value)


# --- the timer of a host ---


@pytest.mark.parametrize(
    ("load", "active", "result", "words"),
    [
        ("not-found", "inactive", "success", "not installed"),
        ("loaded", "inactive", "success", "stopped"),
        ("loaded", "active", "success", "active"),
        ("loaded", "active", "", "active"),
        ("loaded", "active", "exit-code", f"active, last run failed (exit-code 1): journalctl -u {SERVICE}"),
    ],
)
def test_what_becomes_of_a_host_between_two_runs_is_said_in_a_few_words(root, load, active, result, words):
    (root / "run/systemd/system").mkdir(parents=True)
    last = f"Result={result}\nExecMainStatus=1\n" if result else ""
    unit = f"Id={TIMER}\nLoadState={load}\nUnitFileState=enabled\nActiveState={active}\n"
    answers = {"systemctl show -p Id": unit, "systemctl show -p Result": last}
    assert info._timer(says(answers)) == words


def test_without_systemd_there_is_no_timer():
    assert info._timer(says({})) == "no systemd"


def test_the_plan_of_a_host_is_the_one_that_its_summary_names(root):
    assert info.applied_plan() is None
    path = root / STATE[1:]
    path.mkdir(parents=True)
    (path / "summary").write_text("# a comment\nplan: 0123456789ab\n")
    assert info.applied_plan() == "0123456789ab"


# --- kubeconfigs ---

CONFIG = "kind: Config\nclusters:\n- name: a\n  cluster: {server: 'https://10.0.0.1:6443'}\n"


def test_what_is_left_empty_is_not_there():
    for empty in ("", " null", " ~", " []"):
        (cluster,) = parse("/k", f"{CONFIG}contexts:{empty}\nusers:{empty}\n").clusters
        assert cluster.credentials is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{CONFIG}users: {{}}\n", "/k: users is no list of mappings"),
        (f"{CONFIG}contexts: [a]\n", "/k: contexts is no list of mappings"),
        (CONFIG.replace("name: a", "name:"), "/k has a cluster without a name"),
        ("", "/k is no kubeconfig"),
        ("- Config\n", "/k is no kubeconfig"),
        (CONFIG.replace("Config", "[Config]"), "/k is no kubeconfig"),
    ],
)
def test_a_kubeconfig_of_another_shape_is_refused(text, said):
    with pytest.raises(ValidationError) as caught:
        parse("/k", text)
    assert said in str(caught.value)


def test_a_file_that_a_kubeconfig_names_is_read_from_beside_it(tmp_path):
    text = CONFIG.replace("}", ", certificate-authority: pki/ca.crt}")
    path = f"{tmp_path}/k"
    with pytest.raises(ValidationError) as caught:
        parse(path, text)
    assert str(caught.value) == (
        f"{path}: certificate-authority of cluster a: {tmp_path}/pki/ca.crt cannot be read: No such file or directory"
    )
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki/ca.crt").write_text("PEM")
    assert parse(path, text).clusters[0].authority == "PEM"


def test_a_server_that_is_no_url_is_not_shown():
    assert shown("https://[::1") == "(no URL)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 'b' c\n", "line 1: something follows a value"),
        ("a: {'b\n c': 1}\n", "line 1: a key over several lines"),
        ("a: |9x\n  b\n", "line 1: a block of text whose first line this reader does not know"),
        ("a: b # c\n  d\n", "line 2: a value that goes on behind a comment"),
        ("a: b\tc\n", "line 1: a tab"),
        ("a: [b,", "line 1: '[' is not closed"),
        ("a: {b: 1, b: 2}\n", "line 1: a key that stands here already"),
        ("a: [*b]\n", "line 1: a value that this reader does not know"),
    ],
)
def test_what_a_reader_of_few_words_does_not_know_has_its_line(text, said):
    with pytest.raises(Unreadable) as caught:
        read(text)
    assert str(caught.value).startswith(said)


def test_nothing_and_an_item_of_nothing_are_read():
    assert read("# only a comment\n") == {}
    document = read("a:\n-\n- b\nc: |\n  text\n\n")
    assert [node.value for node in document["a"]] == ["", "b"]
    assert isinstance(document["c"], Scalar)
    assert not document["c"].whole
    assert read('a: "b\\\n  c"\n')["a"].value == "bc"
