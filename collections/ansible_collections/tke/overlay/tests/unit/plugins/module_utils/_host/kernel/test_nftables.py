# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of the nftables table, and errors of nft."""

from __future__ import annotations

import pathlib
import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    COUNTERS,
    RulesSpec,
    TransitionAllowances,
    delete_table,
    load_table,
    rules_text,
)

GOLDEN = pathlib.Path(__file__).parent / "data" / "rules.nft"


def spec(**changes):
    peers = ["10.0.1.12", "10.0.1.13"]
    return RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], peers)._replace(**changes)


def test_the_table_of_a_plan_is_as_recorded():
    assert rules_text(spec()) == GOLDEN.read_text(encoding="utf-8")


def test_a_transition_allows_former_peers_and_both_ports():
    text = rules_text(spec(also=TransitionAllowances(["10.0.9.12"], 4789, "tke-alt")))
    assert "elements = { 10.0.1.12, 10.0.1.13, 10.0.9.12 }" in text
    assert "udp dport { 4789, 8472 } ip saddr != @peers4" in text
    assert 'iifname { "tke-alt", "tke0" } ip saddr != @pods4' in text
    assert 'iifname != { "lo", "tke-alt", "tke-br0", "tke0" }' in text


def test_without_a_pod_bridge_only_the_tunnel_is_inside():
    with_bridge, without = rules_text(spec()), rules_text(spec(bridge=""))
    assert without == with_bridge.replace('"tke-br0", ', "")
    assert 'iifname != { "lo", "tke0" } counter name "to_pods" drop' in without


@pytest.mark.parametrize(("port", "ports"), [(8472, "8473-65535"), (60000, "1024-59999"), (1023, "1024-65535")])
def test_source_ports_exclude_the_port_of_the_tunnel(port, ports):
    assert re.findall(r"masquerade to :(\S+)", rules_text(spec(port=port))) == [ports]


def test_every_rule_that_drops_has_a_counter():
    text = rules_text(spec())
    drops = [line for line in text.splitlines() if line.endswith(" drop")]
    assert {re.search(r'counter name "(\w+)"', line)[1] for line in drops} == set(COUNTERS)


@pytest.mark.parametrize("change", [delete_table, lambda table, run: load_table(table, "text", run)])
def test_an_error_of_nft_names_the_table(change):
    with pytest.raises(KernelError, match=r"inet other: Operation not supported$"):
        change("inet other", lambda _command, _text: (1, "", "Operation not supported\n"))


def test_a_table_is_deleted_whether_it_exists_or_not():
    batches = []

    def run(command, text):
        batches.append((command, text))
        return 0, "", ""

    delete_table("inet other", run)
    assert batches == [(("nft", "-f", "-"), "table inet other\ndelete table inet other\n")]
