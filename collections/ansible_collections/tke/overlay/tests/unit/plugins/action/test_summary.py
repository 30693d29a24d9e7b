# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action summary: when a playbook fails at its end, and which of two faults its message names."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.action import summary

PLAN = {
    "sites": {"cloud": "a", "idc": "b"},
    "assignments": {"a": "10.244.0.0/24", "b": "10.244.1.0/24"},
    "fresh": [],
    "orphans": [],
    "forecast": "Room for 255 nodes.",
    "document": {
        "mtu": 1400,
        "port": 8472,
        "device": "tke0",
        "fleet": "a 10.244.0.0/24 10.0.1.11\nb 10.244.1.0/24 10.0.1.12\n",
    },
}
FINDING = {"peer": "b", "kind": "silent", "text": "b does not answer"}
REACHED = {"backups": [], "stages": {}}
NOT_REACHED = {"failed": True, "msg": "api (10.0.2.2:6443) does not answer", "stages": {}}


@pytest.fixture
def run(monkeypatch):
    """Run the action on registered results; return its result, with what it prints as ``printed``."""
    printed = []
    monkeypatch.setattr(summary.ActionBase, "run", lambda *_arguments: {"printed": printed})
    monkeypatch.setattr(summary.display, "display", lambda text, **_options: printed.append(text))

    def result(of, results, more=(), **options):
        action = summary.ActionModule.__new__(summary.ActionModule)
        action._task = types.SimpleNamespace(check_mode=False)
        names = {"results": "probe", "answering": "responder", "endpoint": "endpoint"}
        given = {**dict.fromkeys(action.options), "of": of, "plan": {**PLAN, **dict(more)}, **names, **options}
        action.validate_argument_spec = lambda argument_spec, required_if: (None, given)
        return action.run(
            task_vars={
                "hostvars": results,
                "ansible_play_hosts_all": [*results],
                "ansible_play_batch": ["a"],
                "groups": {},
            }
        )

    return result


def probed(peer, endpoint, findings=()):
    """Return what the tasks of verify register on one host."""
    refused = {"refused": []}
    probe = {"rtt_ms": {} if findings else {peer: 0.5}, "findings": list(findings), "tcp": refused, "changes": {}}
    return {"probe": probe, "responder": {"tcp": refused}, "endpoint": endpoint}


@pytest.mark.parametrize("of", ["verify", "site"])
def test_succeeds_if_all_checks_passed(run, of):
    result = run(of, {"a": probed("b", REACHED), "b": probed("a", REACHED)})
    assert not result.get("failed")
    assert result["lines"]


@pytest.mark.parametrize("of", ["verify", "site"])
def test_a_failed_endpoint_is_not_an_unhealthy_overlay(run, of):
    result = run(of, {"a": probed("b", NOT_REACHED), "b": probed("a", REACHED)})
    assert result["failed"]
    assert "API server" in result["msg"]
    assert "unhealthy" not in result["msg"]


def test_an_unhealthy_overlay_is_named_first(run):
    result = run("verify", {"a": probed("b", NOT_REACHED, [FINDING]), "b": probed("a", REACHED)})
    assert result["failed"]
    assert "overlay is unhealthy" in result["msg"]


def test_counters_are_compared_with_those_before_the_probes(run):
    """Both hosts have counted packets of no peer at some time, but only one of them during the probes."""
    silent = {**FINDING, "underlay": True}
    results = {"a": probed("b", REACHED, [silent]), "b": probed("a", REACHED)}
    for host, before, after in (("a", 7, 7), ("b", 7, 9)):
        results[host]["responder"]["counters"] = {"not_a_peer": before}
        results[host]["probe"]["counters"] = {"not_a_peer": after}
    printed = "\n".join(run("verify", results)["printed"])
    assert "b dropped 2 tunnel packets from addresses of no peer" in printed


def test_counters_without_a_value_before_the_probes_are_no_evidence(run):
    """On a host whose echo responder could not start, for instance."""
    results = {"a": probed("b", REACHED, [FINDING]), "b": probed("a", REACHED)}
    results["b"]["probe"]["counters"] = {"not_a_peer": 9}
    assert "of no peer" not in "\n".join(run("verify", results)["printed"])


def test_a_firewall_of_the_probed_host_is_named(run):
    rule = {"drops": ["ping"], "text": "chain x drops it", "remedy": "open x", "some": False}
    results = {"a": probed("b", REACHED, [FINDING]), "b": probed("a", REACHED)}
    results["b"]["probe"]["filters"] = [rule]
    assert "next: on b: chain x drops it: open x" in run("verify", results)["printed"]


def test_verify_fails_without_a_ledger(run):
    new = {"new_ledger": "There is none at /x."}
    result = run("verify", {"a": probed("b", REACHED), "b": probed("a", REACHED)}, new)
    assert result["failed"]
    assert "There is no ledger" in result["msg"]


def test_reachable_nodes_fail_if_pods_cannot_talk(run):
    fault = {"check": "bridge", "text": "tke-br0 is down", "remedy": "ip link set tke-br0 up", "severity": "bad"}
    results = {"a": probed("b", REACHED), "b": probed("a", REACHED)}
    results["b"]["probe"]["pods"] = [fault]
    assert "overlay is unhealthy" in run("verify", results)["msg"]
    site = run("site", results)
    assert not site.get("failed"), "site has done its work, and warns"
    assert "Pods: b: tke-br0 is down" in site["lines"]


NODE = {"changes": {}, "counts": {}, "changed": False}


def applied(**endpoint):
    """Return what the tasks of site register on one host."""
    return {"probe": NODE, "endpoint": {**REACHED, **endpoint}}


def test_site_counts_what_the_endpoint_changed(run):
    lines = run("site", {"a": applied(changed=True, changes=["/etc/hosts", "kubelet.service"]), "b": applied()})[
        "lines"
    ]
    assert any("a " in line and "endpoint 2" in line for line in lines)
    assert any("1 changed, 1 unchanged" in line for line in lines)


def test_a_failed_endpoint_still_counts_what_it_changed(run):
    failed = {"endpoint": {**NOT_REACHED, "changed": True, "changes": ["route"]}, "probe": NODE}
    result = run("site", {"a": failed, "b": applied()})
    assert result["failed"]
    assert any("1 changed, 1 unchanged" in line for line in result["printed"])


@pytest.mark.parametrize("of", ["verify", "site"])
def test_names_services_that_keep_the_former_server(run, of):
    results = {"a": probed("b", {**REACHED, "outdated": ["kubelet.service"]}), "b": probed("a", REACHED)}
    result = run(of, results)
    assert not result.get("failed")
    (line,) = (line for line in result["lines"] if "kubelet.service" in line)
    assert line.startswith("a: kubelet.service uses the former server")
    assert "overlay_kubeconfig_services" in line
    assert any("nodes reach the API server" in line for line in result["lines"])


def test_site_names_a_kubeconfig_that_is_not_there_yet(run):
    results = {"a": applied(missing_kubeconfigs=["/etc/k.conf"]), "b": applied()}
    result = run("site", results)
    assert not result.get("failed")
    assert any(line.startswith("a: kubeconfig /etc/k.conf is not there yet") for line in result["lines"])
    verified = {"a": probed("b", {**REACHED, "missing_kubeconfigs": ["/etc/k.conf"]}), "b": probed("a", REACHED)}
    assert any("/etc/k.conf is not there yet" in line for line in run("verify", verified)["lines"])


WAITING = {"to_restart": ["kubelet.service"], "outdated": []}


def test_site_counts_a_service_that_was_restarted_later(run):
    later = {"restarted": ["kubelet.service"], "to_restart": [], "outdated": ["kube-proxy.service"]}
    results = {"a": {**applied(**WAITING), "later": later}, "b": {**applied(), "later": {"skipped": True}}}
    result = run("site", results, restarted="later")
    assert not result.get("failed")
    assert any("a " in line and "endpoint 1" in line for line in result["lines"])
    assert not any("kubelet.service was not restarted" in line for line in result["lines"])
    assert any("a: kube-proxy.service uses the former server" in line for line in result["lines"])


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"failed": True, "msg": "kubelet.service was restarted and is failed"}, "is failed"),
        ({"unreachable": True, "msg": "ssh"}, "not reached again to restart"),
    ],
)
def test_site_fails_if_a_restart_fails_and_names_the_others(run, later, words):
    results = {"a": {**applied(**WAITING), "later": later}, "b": applied(**WAITING)}
    result = run("site", results, restarted="later")
    assert result["failed"]
    assert any(line.startswith("a: ") and words in line for line in result["printed"])
    assert any(line.startswith("a, b: kubelet.service was not restarted") for line in result["printed"])


LOST = {"unreachable": True, "msg": "ssh: connect to host 10.0.1.11 port 22: Connection refused"}


def test_site_fails_if_no_node_was_configured(run):
    """Ansible itself does not, because the hosts stay in the play until the summary is printed."""
    result = run("site", {host: {"probe": LOST} for host in "ab"})
    assert result["failed"]
    assert "No node was configured" in result["msg"]
    assert not run("site", {"a": {"probe": LOST}, "b": probed("a", REACHED)}).get("failed"), "a failed itself"


def test_site_names_hosts_of_the_pair_that_are_not_done(run):
    results = {"a": probed("b", REACHED), "b": probed("a", REACHED), "clb1": {}, "clb2": {}}
    reasons = {"clb1": "no haproxy", "clb2": "no haproxy", "a": "its row has it"}
    lines = run("site", results, not_done=reasons)["lines"]
    assert [line for line in lines if "no haproxy" in line] == ["load balancer not configured: clb1, clb2: no haproxy"]
    assert not [line for line in lines if "its row has it" in line]


def test_site_fails_if_acknowledgements_are_not_recorded(run):
    lost = {"acknowledgement": {"failed": True, "msg": "the ledger is read-only"}}
    results = {"a": {**probed("b", REACHED), **lost}, "b": {**probed("a", REACHED), **lost}}
    result = run("site", results, acknowledged="acknowledgement")
    assert result["failed"]
    assert "acknowledgements" in result["msg"]


def test_rollout_continues_past_unreachable_hosts(run):
    result = run("rollout", {"a": {"probe": {}, "responder": {}, "node": LOST}, "b": {}}, converged="node")
    assert not result.get("failed")
    assert "unreachable: a: the connection to its SSH port was refused" in result["lines"]


def test_reset_needs_no_plan_and_fails_if_a_host_is_not_done(run):
    removed = {"changed": True, "changes": {}, "counts": {"link": 1}}
    assert not run("reset", {"a": {"probe": removed}}, plan=None).get("failed")
    result = run("reset", {"a": {"probe": removed}, "b": {"probe": LOST}}, plan=None)
    assert result["failed"]
    assert "not removed from every host" in result["msg"]


def test_preflight_shows_addresses_and_the_forecast(run):
    diff = {"before": "", "after": "node a\n", "before_header": "/ledger", "after_header": "/ledger"}
    results = {"a": {"ansible_host": "10.0.1.11"}, "b": {"overlay_underlay_ip": "10.0.1.12"}}
    lines = run("preflight", results, plan={**PLAN, "diff": diff, "writable": True})["lines"]
    assert lines[1].split() == ["a", "cloud", "keeps", "10.244.0.0/24", "10.0.1.11", "ansible_host"]
    assert lines[2].split()[-1] == "overlay_underlay_ip"
    assert "+node a" in lines
    assert "no conflict found; the ledger can be written; nothing was changed" in lines
