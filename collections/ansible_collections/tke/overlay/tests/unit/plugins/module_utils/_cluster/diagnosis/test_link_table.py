# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the links on the screens of status, site and preflight."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.link_table import link_lines


def link(one, other, transport="vxlan", mtu=1450):
    return {"sites": [one, other], "nodes": [2, 1200], "transport": transport, "mtu": mtu}


def texts(links, nodes="", recorded=""):
    wireguard = {"generation": 0, "nodes": nodes, "recorded": recorded}
    return [line.text for line in link_lines({"links": links, "wireguard": wireguard})]


def test_a_cluster_without_links_has_no_table():
    assert link_lines({"sites": {"cloud": "a"}}) == []


def test_each_link_has_a_row_and_the_default_comes_last():
    assert texts([link("a", "a"), link("a", "b", "wireguard", 1440), link("b", "b", "direct", 1500)]) == [
        "SITES     TRANSPORT  POD MTU  NODES",
        "a - b     wireguard  1440     2 - 1,200",
        "inside b  direct     1500     2",
        "inside a  vxlan      1450     2",
        "",
    ]


def test_of_many_links_the_last_ones_are_counted():
    lines = texts([link("a", f"s{number}") for number in range(23)])
    assert lines[-2:] == ["and 3 more links", ""]
    assert len(lines) == 23


def test_nodes_that_no_peer_accepts_yet_are_named():
    lines = texts([link("a", "b", "wireguard")], nodes="n1 n2 n10", recorded="n2")
    assert "n1, n10" in lines[-2]
    assert "tke.overlay.site" in lines[-2]
    assert len(texts([link("a", "b", "wireguard")], nodes="n1", recorded="n1")) == 3
