# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host compares a plan with the one that it has applied, and rejects one that contradicts it."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.applied_plan import (
    Accepted,
    check_cluster,
    check_plan,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import FLEET_FILE, SUMMARY
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import LEDGER_LINE


@pytest.fixture
def host(tmp_path, monkeypatch, document):
    """Return a function that makes the host one that has applied the document, with changes of its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))

    def applied(cluster="demo", node="me", node_cidr="10.244.0.0/24", fleet=document["fleet"]):
        (tmp_path / SUMMARY[1:]).parent.mkdir(parents=True)
        (tmp_path / SUMMARY[1:]).write_text(f"cluster: {cluster}\nnode: {node}\nnode_cidr: {node_cidr}\n")
        (tmp_path / FLEET_FILE[1:]).write_text(fleet)

    return applied


@pytest.fixture
def host_with_version(host, tmp_path):
    """The same, with the version of a ledger."""

    def applied(version):
        host()
        with (tmp_path / SUMMARY[1:]).open("a") as stream:
            stream.write(f"{LEDGER_LINE}: {version}\n")

    return applied


def changed(document, fleet, former="", **node_cidrs):
    """Return the document with other node CIDRs; ``None`` removes a node."""
    peers = [peer._replace(node_cidr=node_cidrs.get(peer.name, peer.node_cidr)) for peer in fleet]
    return {**document, "fleet": fleet_text(peer for peer in peers if peer.node_cidr), "former": former}


def test_a_new_host_accepts_any_plan(tmp_path, monkeypatch, document):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    check_plan({**document, "former": ""}, Accepted())
    assert check_cluster("demo", []) is False


def test_the_same_plan_is_accepted(host, document):
    host()
    check_plan({**document, "former": ""}, Accepted())
    assert check_cluster("demo", []) is True


@pytest.mark.parametrize(
    ("node_cidrs", "words"),
    [
        ({"me": "10.244.9.0/24"}, "node me has 10.244.0.0/24, and the plan gives it 10.244.9.0/24"),
        ({"one": "10.244.9.0/24"}, "node one has 10.244.1.0/24, and the plan gives it 10.244.9.0/24"),
        ({"two": None}, "node two has 10.244.2.0/24, and it is not in the plan"),
    ],
)
def test_a_plan_with_another_node_cidr_names_both(host, document, fleet, node_cidrs, words):
    host()
    with pytest.raises(ValidationError) as caught:
        check_plan(changed(document, fleet, **node_cidrs), Accepted())
    for word in (words, "Nothing was changed", "tke.overlay.rebuild_ledger", "-e overlay_renumber=me"):
        assert word in str(caught.value)
    check_plan(changed(document, fleet, **node_cidrs), Accepted(renumber=["me"]))
    check_plan(changed(document, fleet, **node_cidrs), Accepted(renumber=["all"]))
    with pytest.raises(ValidationError):
        check_plan(changed(document, fleet, **node_cidrs), Accepted(renumber=["one"], take_over=["demo"]))


def test_a_release_explains_the_difference(host, document, fleet):
    host()
    former = "10.244.0.0/24 me\n10.244.2.0/24 two\n"
    check_plan(changed(document, fleet, former, two=None), Accepted())
    check_plan(changed(document, fleet, former, me="10.244.9.0/24"), Accepted())


def test_without_releases_only_the_own_node_is_compared(host, document, fleet):
    host()
    without = changed(document, fleet, two=None)
    del without["former"]
    check_plan(without, Accepted())
    check_plan({**without, "former": None}, Accepted())
    with pytest.raises(ValidationError, match="node me has"):
        check_plan({**changed(document, fleet, me="10.244.9.0/24"), "former": None}, Accepted())


@pytest.mark.parametrize("text", ["", "edited\n", "two 10.244.2.0/24 a\ntwo 10.244.3.0/24 b\n"])
def test_an_edited_fleet_does_not_prevent_the_repair(host, document, text):
    host(fleet=text)
    check_plan({**document, "former": ""}, Accepted())


def test_a_cloned_or_renamed_host_is_named(host, document):
    host(node="one", node_cidr="10.244.1.0/24")
    with pytest.raises(ValidationError, match=r"node one has 10\.244\.1\.0/24, and the plan gives it 10\.244\.0\.0/24"):
        check_plan({**document, "former": ""}, Accepted())


def test_a_host_of_another_cluster_names_both(host, document):
    host(cluster="lab")
    with pytest.raises(ValidationError) as caught:
        check_plan({**document, "former": ""}, Accepted(renumber=["all"]))
    for word in ("node me of cluster 'lab'", "overlay_cluster is 'demo'", "-e overlay_take_over=lab"):
        assert word in str(caught.value)
    check_plan({**document, "former": ""}, Accepted(take_over=["lab"]))
    assert check_cluster("demo", ["lab"]) is False
    assert check_cluster("lab", []) is True


def test_an_incomplete_summary_does_not_prevent_the_repair(host, document, tmp_path):
    host()
    (tmp_path / SUMMARY[1:]).write_text("")
    check_plan({**document, "former": ""}, Accepted())


@pytest.mark.parametrize("versions", ["41-aaaaaaaa", "42-bbbbbbbb 41-aaaaaaaa 40-cccccccc", "58-bbbbbbbb 42-dddddddd"])
def test_a_plan_of_the_same_or_a_later_ledger_is_accepted(host_with_version, document, versions):
    host_with_version("41-aaaaaaaa")
    check_plan({**document, "former": "", "ledger_versions": versions}, Accepted())


@pytest.mark.parametrize("versions", ["40-cccccccc", "41-bbbbbbbb 40-cccccccc", "42-dddddddd 41-bbbbbbbb 40-cccccccc"])
def test_a_plan_of_an_older_ledger_names_both_versions(host_with_version, document, versions):
    host_with_version("41-aaaaaaaa")
    plan = {**document, "former": "", "ledger_versions": versions}
    with pytest.raises(ValidationError) as caught:
        check_plan(plan, Accepted())
    for word in ("41-aaaaaaaa", f"the plan has {versions[:11]},", "Nothing was changed", "tke.overlay.rebuild_ledger"):
        assert word in str(caught.value)
    check_plan(plan, Accepted(renumber=["me"]))


def test_a_plan_without_versions_is_not_compared(host_with_version, document):
    host_with_version("41-aaaaaaaa")
    check_plan({**document, "former": ""}, Accepted())
