# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the validation of a probe task. tests/kernel tests the probe itself on real packets."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.icmp import MIN_SIZE
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.run import (
    Path,
    ProbeTask,
    task_for_document,
    task_for_peers,
)


def test_reports_all_invalid_addresses_and_the_size():
    peers = {"b": "10.244.1.0", "c": "nowhere", "d": "10.244.01.0"}
    with pytest.raises(ValidationError) as caught:
        task_for_peers(peers, {"address": "10.244.0.300/32", "mtu": "70000"}).validated()
    problems = caught.value.problems
    assert len(problems) == 4
    for problem, words in zip(
        problems,
        ("source '10.244.0.300'", "c 'nowhere'", "d '10.244.01.0'", f"size 70000 is not between {MIN_SIZE + 1}"),
    ):
        assert words in problem


def test_a_host_without_an_address_needs_a_source():
    with pytest.raises(ValidationError, match=r"no node of the overlay.*set source"):
        task_for_peers({"b": "10.244.1.0"}, {}).validated()


@pytest.mark.parametrize(("mtu", "size"), [("1400", 1400), ("", 1450), ("a lot", 1450)])
def test_takes_the_size_from_the_applied_settings(mtu, size):
    task = task_for_peers({"b": "10.244.1.0"}, {"address": "10.244.0.0/32", "mtu": mtu})
    assert task.validated() == ProbeTask("10.244.0.0", {"b": "10.244.1.0"}, size)


@pytest.mark.parametrize("size", [MIN_SIZE + 1, 65535])
def test_accepts_the_smallest_and_the_largest_size(size):
    assert ProbeTask("10.244.0.0", {}, size).validated().size == size


def test_the_size_is_that_of_the_link():
    fleet = [Peer(name, f"10.244.{number}.0/24", f"10.0.1.{11 + number}", name) for number, name in enumerate("abc")]
    links = "a a direct 1500\na b vxlan 1430\na c wireguard 1420\nb c vxlan 1400\n"
    document = {"node": "a", "fleet": fleet_text(fleet), "links": links, "mtu": 1500}
    task = task_for_document(document, {}, 0)
    assert task.paths == {"b": Path(1430, 50), "c": Path(1420, 60)}
    assert task.path_to("b").size == 1430
    assert task.with_size(1300).path_to("b") == Path(1300, 50)
    assert task.with_size(None) == task


def test_takes_the_size_of_a_peer_from_its_saved_route(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    (tmp_path / "etc/tke-overlay").mkdir(parents=True)
    (tmp_path / "etc/tke-overlay/route.batch").write_text(
        "route replace 10.244.1.0/24 dev tke-wg0 scope link src 10.244.0.0 mtu 1420 proto 144\n"
        "route replace 10.244.2.0/24 via 10.244.2.0 dev tke0 onlink proto 144\n"
        "route replace blackhole 10.244.1.0/24 metric 4096 proto 144\n"
    )
    settings = {"address": "10.244.0.0/32", "mtu": "1450", "pod_mtu": "1500"}
    task = task_for_peers({"b": "10.244.1.0", "c": "10.244.2.0"}, settings)
    assert (task.path_to("b").size, task.path_to("c").size) == (1420, 1450)
