# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the alternate link is created, replaced, deleted or kept."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkChange, LinkSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import (
    alternate_link_of,
    relax_reverse_path_filter,
    with_alternate_link,
)

LINK = LinkSpec("tke0", 1, 8472, "10.0.1.11", mac="0a:58:0a:f4:00:00", mtu=1450, addresses=["10.244.0.0/32"])
CHANGE = LinkChange({"mtu": "1400"}, {"mtu": "1450"}, ["link set tke0 mtu 1450"])


def row(port, alias="tke.overlay"):
    """Return an alternate link as ip lists it."""
    data = {"id": 1, "port": port, "local": "10.0.1.11", "learning": False}
    return {
        "ifname": "tke-alt",
        "address": LINK.mac,
        "mtu": 1450,
        "flags": ["UP"],
        "ifalias": alias,
        "linkinfo": {"info_kind": "vxlan", "info_data": data},
        "addr_info": [{"local": "10.244.0.0", "prefixlen": 32}],
    }


def test_differs_from_the_tunnel_in_name_and_port():
    assert alternate_link_of(LINK, 4789) == LINK._replace(name="tke-alt", port=4789)
    assert alternate_link_of(LINK, None) is None


@pytest.mark.parametrize(
    ("port", "links"),
    [(None, []), (None, [row(4789, alias="foreign")]), (4789, [row(4789)])],
    ids=["none is needed", "foreign link of this name", "already as needed"],
)
def test_change_stays_without_a_difference(port, links):
    assert with_alternate_link(CHANGE, alternate_link_of(LINK, port), links) is CHANGE


def test_is_created_after_the_change_of_the_tunnels_link():
    change = with_alternate_link(CHANGE, alternate_link_of(LINK, 4789), [])
    assert change.lines[0] == "link set tke0 mtu 1450"
    assert change.lines[1].startswith("link add tke-alt")
    assert "dstport 4789" in change.lines[1]
    assert (change.before["alternate port"], change.after["alternate port"]) == ("none", "4789")


def test_is_deleted_before_the_tunnels_link_takes_its_port():
    change = with_alternate_link(CHANGE, None, [row(4789)])
    assert change.lines == ["link del tke-alt", "link set tke0 mtu 1450"]
    assert (change.before["alternate port"], change.after["alternate port"]) == ("4789", "none")


def test_is_replaced_by_one_with_another_port():
    change = with_alternate_link(CHANGE, alternate_link_of(LINK, 8472), [row(4789)])
    assert change.lines[0] == "link del tke-alt"
    assert change.lines[2].startswith("link add tke-alt")
    assert (change.before["alternate port"], change.after["alternate port"]) == ("4789", "8472")


@pytest.mark.parametrize(
    ("pods", "values"), [(True, {"rp_filter": "2", "forwarding": "1"}), (False, {"rp_filter": "2"})]
)
def test_accepts_and_forwards_what_comes_by_it(tmp_path, monkeypatch, pods, values):
    """A new link has the values of conf.default, which can forbid both. Without Pods nothing is forwarded."""
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path))
    relax_reverse_path_filter(None, pods=True)
    directory = tmp_path / "net/ipv4/conf/tke-alt"
    directory.mkdir(parents=True)
    relax_reverse_path_filter(alternate_link_of(LINK, 4789), pods)
    assert {path.name: path.read_text() for path in directory.iterdir()} == values
