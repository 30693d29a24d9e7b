# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded listings of several versions of nft, and what is read from them. tests/tools/record_nft.py makes them."""

from __future__ import annotations

import pathlib
import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import find_obstacles
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    COUNTERS,
    RulesSpec,
    RulesTable,
    counter_values,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.programs import RESTORE_PAIR_SH
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import blocking_firewalls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._host.node.tunnel_filters import TunnelEnds, tunnel_filters

DATA = pathlib.Path(__file__).parent / "data"
VERSIONS = sorted(path.stem.partition("-")[2] for path in DATA.glob("nft-*.txt"))
SPEC = RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], ["10.0.1.12", "10.0.1.13"])


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """The directory of the files of the host."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def recorded(version):
    """Return a run that returns the recorded output of each command, and accepts every change."""
    blocks = (DATA / f"nft-{version}.txt").read_text(encoding="utf-8").split("\n$ ")[1:]
    outputs = dict(block.rstrip("\n").partition("\n")[::2] for block in blocks)

    def run(command, text):
        if command[0] != "nft":
            return 1, "", "not recorded"
        return 0, f"{outputs[' '.join(command)]}\n" if text is None else "", ""

    return run


@pytest.mark.parametrize("version", VERSIONS)
def test_loaded_rules_are_complete_and_without_difference(version):
    table = RulesTable(SPEC)
    table.replace(recorded(version), there=False)
    found = table.read(recorded(version))
    assert {key: entry.spec for key, entry in found.items()} == table.wanted


@pytest.mark.parametrize("version", VERSIONS)
def test_a_listing_without_a_record_has_every_part(version):
    """As after a boot, or after another program has changed the table."""
    found = RulesTable(SPEC).read(recorded(version))
    assert {f"counter {name}" for name in COUNTERS} <= set(found)
    assert {found[f"counter {name}"].spec for name in COUNTERS} == {"{}"}, "without values, which change"
    assert {"element 10.0.1.12", "element 10.0.1.13", "set pods4", "chain nat", "input 1"} <= set(found)
    assert not [key for key in found if re.search(r"packets|[{}]", key)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flag_of_the_table_is_a_difference(version):
    table, run = RulesTable(SPEC), recorded(version)

    def dormant(command, text):
        code, out, errors = run(command, text)
        return code, out.replace("tke_overlay {\n", "tke_overlay {\n\tflags dormant\n\n"), errors

    assert table.read(dormant)["table flags"].spec == "dormant"
    assert "table flags" not in table.wanted


@pytest.mark.parametrize("version", VERSIONS)
def test_values_of_counters_are_read(version):
    values = counter_values(recorded(version))
    assert values.pop("not_a_peer") == "packets 1 bytes 29"
    assert values == dict.fromkeys([name for name in COUNTERS if name != "not_a_peer"], "packets 0 bytes 0")


@pytest.mark.parametrize("version", VERSIONS)
def test_foreign_firewalls_are_found(version):
    network = PodNetwork("tke0", "tke-br0", 8472, "10.244.0.0/24", ["10.244.0.0/16"])
    found = [finding.text for finding in blocking_firewalls(network, recorded(version))]
    assert [re.findall(r"chain (\S+) of the nftables table (\S+ \S+) ", text) for text in found] == [
        [("FORWARD", "ip filter")],
        [("forward", "inet other")],
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_rules_that_concern_the_load_balancer_are_found(version):
    (sentence,) = find_obstacles("10.0.2.2", 6443, recorded(version))
    assert sentence.startswith("firewall rules of this host concern 10.0.2.2: table inet third, chain output: ")
    assert "ip daddr 10.0.2.0/24 tcp dport 6443 counter" in sentence


@pytest.mark.parametrize("version", VERSIONS)
def test_rules_in_the_way_of_the_probes_are_found(version):
    found = tunnel_filters(TunnelEnds("tke0", 8472, 8473), recorded(version))
    in_chain = "a rule in chain input of the nftables table inet third: "
    assert [(each.drops, each.text.partition(" with ")[0]) for each in found] == [
        (("tunnel",), f"{in_chain}udp dport {{ 4789, 8472 }} drop"),
        (("tcp",), f'{in_chain}iifname "tke0" tcp dport 8473 reject'),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_masquerading_of_pods_is_seen(version):
    network = PodNetwork("tke0", "tke-br0", 8472, "10.244.0.0/24", ["10.244.0.0/16"])
    assert "rules" not in [finding.check for finding in pod_findings(network, recorded(version), [])]


@pytest.mark.parametrize("version", VERSIONS)
def test_counted_packets_are_no_difference_of_the_pairs_rules(version):
    """The script removes the values of counters; `nft -s` of some versions prints them."""
    blocks = (DATA / f"nft-{version}.txt").read_text(encoding="utf-8").split("\n$ ")[1:]
    found = [block.partition("\n") for block in blocks if "tke_overlay_clb" in block.partition("\n")[0]]
    before, after = ([line for line in body.splitlines() if line] for _command, _newline, body in found)
    (expression,) = re.findall(r"sed '([^']*)'", RESTORE_PAIR_SH)
    assert expression == "s/packets [0-9]* bytes [0-9]*/packets 0 bytes 0/"
    assert [re.sub(r"packets \d+ bytes \d+", "packets 0 bytes 0", line) for line in after] == before
    assert any("ip saddr != 10.0.2.12" in line for line in before)
