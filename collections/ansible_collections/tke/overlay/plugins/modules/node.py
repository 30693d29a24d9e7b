#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node
short_description: Makes a host a node of the overlay
version_added: 1.0.0
description:
  - Sets up everything that the plan defines for the host, in one call - the VXLAN link with its MAC, MTU and address;
    neighbour, FDB entry and route of every peer; the blackhole route of the host's own node CIDR; the nftables table
    C(inet tke_overlay); forwarding; the CNI configuration of its Pods; and a systemd service and timer that restore
    all of it at boot and whenever a part of it is lost.
  - Reads the kernel's tables, compares them with the plan, applies one batch for each table, and reads them back.
  - A change of the kernel's tables is a confirmed commit. It is saved only after the host has reached its API endpoint
    again (if one is recorded in C(/etc/tke-overlay/api-endpoint) and was reachable before the change), and the
    controller has reached the host over a new connection. Without that, a transient systemd timer on the host rolls
    the change back after O(confirm_timeout), even if the controller is down. A reboot before the confirmation also
    restores the old state.
  - If anything fails after the first change, the change is rolled back at once. The task then fails and reports the
    failure and the outcome of the rollback.
  - Foreign objects are never changed. If a foreign object is in the way, the task fails before anything has changed.
  - Warns about everything else on the host that prevents Pods from talking, such as a firewall that does not forward
    their packets, with its remedy - see RV(pods).
  - Needs no facts of other hosts, so a run can be limited to one host, and an unreachable peer does not affect it.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._document
  - tke.overlay._pods
attributes:
  action:
    description: The action plugin confirms a change over a new connection to the host.
    support: full
options:
  state:
    description:
      - With V(present), the host gets everything that the plan defines for it.
      - With V(absent), all managed objects are removed. The host keeps its node CIDR in the ledger. The files on the
        host name the objects, so O(name) and O(document) are not needed.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name of this host in the plan. O(state=present) requires it and O(document).
    type: str
  phase:
    description:
      - How far to go if other hosts must change as well, because underlay addresses of peers or of this host, the
        port of the tunnel, or the transport of a link differ from the saved state. A host that is not concerned
        converges completely in any phase.
      - V(prepare) accepts the new plan in addition to the old one, changes nothing else, and returns RV(unfinished).
      - V(cutover), after all hosts have prepared, sends by the new plan and still accepts the old one.
      - V(finalize) accepts the new plan only. Without the other phases it interrupts the flows between two hosts until
        both have the new plan.
    type: str
    choices: [finalize, prepare, cutover]
    default: finalize
  unreached:
    description:
      - Nodes that the phases before have not reached. If the transport of the link to such a peer has changed, the host
        sends to it as before and understands it, until a later run reaches that peer.
    type: list
    elements: str
    default: []
  restore_interval:
    description: Seconds between two runs of the restore timer.
    type: int
    default: 30
  metrics_dir:
    description:
      - The directory of node_exporter's textfile collector on this host. The restore timer writes
        C(tke_overlay_node.prom) there, and a second timer probes a sample of the peers and writes
        C(tke_overlay_probe.prom). The directory must exist.
      - Without it, the host writes no metrics, has no second timer, and a former file is removed.
    type: str
  probe_interval:
    description: Seconds between two rounds of probes, between 10 and 3600. Only with O(metrics_dir).
    type: int
    default: 60
  sites:
    description:
      - The site of each node, for the label C(site) of the metrics - a dictionary whose keys are sites, and whose
        values are names of nodes between spaces, as module M(tke.overlay.plan) returns it.
    type: dict
    default: {}
  confirm_timeout:
    description:
      - Seconds that a change of the kernel's tables is pending before the host rolls it back. Between 3 and 3600. The
        API endpoint must be reachable again within two thirds of this time.
      - A change of files alone needs no confirmation.
      - With V(0), and on a host without systemd, a change is saved as soon as the kernel holds it, and neither the API
        endpoint nor the connection to the controller is checked. A failure is still rolled back.
    type: int
    default: 30
  confirmation:
    description: The token of the change. The action plugin sets it and ignores the value of a task.
    type: str
    default: ""
  renumber:
    description:
      - Hosts that may get another node CIDR than they have applied; V(all) for every host. Their Pods lose their
        addresses.
      - Without it, a plan that contradicts the applied one is an error before anything changes, unless the ledger has
        recorded the release of the node CIDR.
    type: list
    elements: str
    default: []
  take_over:
    description:
      - Other clusters, by name, from which this host may be taken. Without it, a host that is a node of another
        cluster is an error before anything changes.
    type: list
    elements: str
    default: []
  remove_flannel:
    description:
      - Replace the routes of flannel that lead to the node CIDRs of peers - by their underlay addresses (host-gw), or
        by a link C(flannel.N) beside the one of the overlay (vxlan). Other foreign routes stay an error.
      - The host accepts the packets of Pods by the links of both until O(phase=finalize). Run the phases on all hosts.
      - M(tke.overlay.flannel) removes the rest.
    type: bool
    default: false
  cluster:
    description: With O(state=absent), the cluster of which the host must be a node, if it is one. By default any.
    type: str
  pods:
    description:
      - Whether the host has Pods.
      - With V(false) it gets its place in the overlay, from which it reaches Pods and is reached by them, but neither
        Pod bridge nor CNI configuration, and its forwarding stays as it is. For API servers, gateways and monitoring.
      - A change to V(false) is an error before anything changes as long as a Pod of the overlay runs on the host.
    type: bool
    default: true
  device:
    description: With O(state=absent), the VXLAN link to remove if the files of the host do not name it.
    type: str
    default: tke0
  bridge:
    description:
      - With O(state=absent), the Pod bridge to remove if the files of the host do not name it.
      - The bridge stays while Pods are on it.
    type: str
    default: tke-br0
seealso:
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Plan the overlay
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
  run_once: true
  register: plan_result

- name: Make this host a node
  tke.overlay.node:
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"

- name: Remove this host from the overlay
  tke.overlay.node:
    state: absent
"""

RETURN = r"""
changes:
  description:
    - What was added, changed and removed in each table, one line per entry, in the format of iproute2.
    - Foreign entries on the device are listed as C(foreign); they are kept.
    - A list has at most 50 entries; one more entry gives the number of the others.
    - With O(state=absent), what was removed of each kind.
  returned: success
  type: dict
  sample:
    link: {before: {}, after: {}}
    route: {added: ["10.244.4.0/24 via 10.244.4.0 dev tke0 onlink"], changed: [], removed: [], foreign: []}
    fdb: {added: ["0a:58:0a:f4:04:00 dst 192.168.1.13"], changed: [], removed: [], foreign: []}
    neighbor: {added: ["10.244.4.0 lladdr 0a:58:0a:f4:04:00"], changed: [], removed: [], foreign: []}
    rules: {added: ["element 192.168.1.13 of peers4"], changed: [], removed: [], foreign: []}
    files: [/etc/tke-overlay/route.batch, /etc/cni/net.d/10-tke-overlay.conflist]
    sysctls: [net.ipv4.ip_forward]
    units: [tke-overlay.timer]
pods:
  description:
    - What prevents Pods of the host from talking, as in the return value of M(tke.overlay.overlay_info). Each entry
      with the severity V(bad) or V(warn) is also a warning.
    - In check mode, without what the module would set right by itself.
  returned: with O(state=present), after the last phase
  type: list
  elements: dict
  sample:
    - check: port
      text: "the link veth6c1d80a1 (Pod default/web-0, 10.244.2.7) is not on the Pod bridge tke-br0: this Pod reaches
        nothing"
      remedy: ip link set veth6c1d80a1 master tke-br0
      severity: bad
unfinished:
  description: Whether O(phase=prepare) left changes to the later phases. RV(changes) lists the changes of all phases.
  returned: with O(state=present)
  type: bool
  sample: false
counts:
  description: The number of changes of each kind; a kind without changes is left out.
  returned: success
  type: dict
  sample: {link: 1, route: 4, fdb: 3, neighbor: 3, rules: 31, files: 15, sysctls: 2, units: 2}
confirmed:
  description: Whether the change was confirmed over a new connection, and so saved.
  returned: when the kernel's tables were changed and a confirmation was needed
  type: bool
  sample: true
rolled_back:
  description:
    - Whether the host rolled the change back and is as it was before.
    - V(false) if the host stayed unreachable, or not everything is as before; RV(ignore:msg) names what differs.
  returned: when the confirmation failed
  type: bool
  sample: true
recreated:
  description: Why the device was recreated. Its table entries were added again in the same call.
  returned: when the link existed and was recreated
  type: str
  sample: port 4789 -> 8472 cannot be changed in place
"""

import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    CHANGE_STARTED,
    CONFIRM_SECONDS,
    Confirmation,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import Row
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.applied_plan import Accepted, check_cluster
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import NodeResult
from ansible_collections.tke.overlay.plugins.module_utils._host.node.converge import converge
from ansible_collections.tke.overlay.plugins.module_utils._host.node.options import ConvergeOptions
from ansible_collections.tke.overlay.plugins.module_utils._host.node.phases import CUTOVER, FINALIZE, PHASES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings, summarized
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import (
    NOTE,
    PodFinding,
    planned_network,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import INTERVAL
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import NO_BRIDGE_NETFILTER
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import (
    PROBE_INTERVAL,
    MetricsSpec,
    directory_of,
    sites_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._module import (
    DOCUMENT,
    Result,
    diff_of,
    document_of,
    run_module,
)

MOST_LINES = 50
"""Lines of each kind of change in a result; the diff has all lines."""

REPAIRED = ("forwarding", "bridge_netfilter", "bridge", "port", "rules", "route", "cni_file")
"""Checks of what the module itself sets."""

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str"},
    "phase": {"type": "str", "choices": list(PHASES), "default": FINALIZE},
    "unreached": {"type": "list", "elements": "str", "default": []},
    "restore_interval": {"type": "int", "default": INTERVAL},
    "confirm_timeout": {"type": "int", "default": CONFIRM_SECONDS},
    "device": {"type": "str", "default": "tke0"},
    "bridge": {"type": "str", "default": "tke-br0"},
    "document": {"type": "dict", "options": DOCUMENT},
    "confirmation": {"type": "str", "default": ""},
    "renumber": {"type": "list", "elements": "str", "default": []},
    "take_over": {"type": "list", "elements": "str", "default": []},
    "remove_flannel": {"type": "bool", "default": False},
    "cluster": {"type": "str"},
    "cni_bin_dirs": {"type": "list", "elements": "str", "default": []},
    "pods": {"type": "bool", "default": True},
    "metrics_dir": {"type": "str"},
    "probe_interval": {"type": "int", "default": PROBE_INTERVAL},
    "sites": {"type": "dict", "default": {}},
}


def present(module: AnsibleModule, run: Run) -> Result:
    """Make the host a node, and return the differences."""
    params = module.params
    document = document_of(params)
    confirmation = Confirmation(params["confirmation"], params["confirm_timeout"])
    options = ConvergeOptions(
        interval=params["restore_interval"],
        phase=params["phase"],
        unreached=frozenset(params["unreached"]),
        confirmation=confirmation,
        before_change=_announce_change,
        accepted=Accepted(params["renumber"], params["take_over"]),
        replace_flannel=params["remove_flannel"],
        pods=params["pods"],
        cni_bin_dirs=params["cni_bin_dirs"],
        metrics=_metrics_of(params),
    )
    node_result = converge(document, run, module.check_mode, options)
    converged = time.monotonic()
    if not node_result.systemd:
        module.warn("this host does not run systemd, so nothing restores the overlay after a reboot")
    if not node_result.bridge_netfilter:
        module.warn(NO_BRIDGE_NETFILTER)
    for warning in node_result.warnings:
        module.warn(warning)
    changes = changes_of(node_result)
    result = {
        "changed": node_result.changed,
        "changes": short(changes),
        "unfinished": node_result.unfinished,
        "counts": counts(changes),
        **diff_of(module, node_result.diffs()),
    }
    if not node_result.unfinished and params["phase"] != CUTOVER:
        result["pods"] = summarized(_checked_pods(module, run, node_result.links))
    if node_result.link.recreated:
        result["recreated"] = node_result.link.recreated
    if node_result.seconds_to_confirm is not None:
        # The host's own time is running; the checks of Pods can take seconds where there are many rules.
        result["seconds_to_confirm"] = node_result.seconds_to_confirm - (time.monotonic() - converged)
    return result


def _metrics_of(params: Result) -> MetricsSpec:
    """Return where and how the host writes metrics.

    :raises ValidationError: an option is invalid, or the host does not have the directory.
    """
    sites = {str(site): str(names) for site, names in params["sites"].items()}
    return MetricsSpec(directory_of(params["metrics_dir"]), params["probe_interval"], sites_of(sites)).validated()


def _checked_pods(module: AnsibleModule, run: Run, links: t.Sequence[Row] | None) -> list[PodFinding]:
    """Return what prevents Pods of the host from talking, and warn of it.

    In check mode, what a run would set right by itself is left out; so is what another module removes. A host without
    Pods needs nothing of it.
    """
    if not module.params["pods"]:
        return []
    removed = ("flannel",) if module.params["remove_flannel"] else ()
    network = planned_network(document_of(module.params), module.params["cni_bin_dirs"])
    # Without check mode, the module has just compared the rules, or loaded them and read them back.
    found = pod_findings(network, run, links, rules_hold=not module.check_mode)
    found = [finding for finding in found if not (module.check_mode and finding.check in REPAIRED)]
    found = [finding for finding in found if finding.check not in removed]
    for finding in found:
        if finding.severity != NOTE or finding.check == "flannel":
            module.warn(finding.sentence)
    return found


def changes_of(node_result: NodeResult) -> Result:
    """Return the changes of each kind, as the module returns them."""
    return {
        "link": {"before": node_result.link.before, "after": node_result.link.after},
        **{name: delta.lines() for name, delta in node_result.tables.items()},
        "files": [diff.name for diff in node_result.files],
        "sysctls": [diff.name for diff in node_result.sysctls],
        "units": [diff.name for diff in node_result.units],
    }


def _announce_change() -> None:
    """Report to the action plugin that the change starts, on the only channel that survives a broken connection."""
    sys.stderr.write(f"{CHANGE_STARTED}\n")
    sys.stderr.flush()


def absent(module: AnsibleModule, run: Run) -> Result:
    """Remove all managed objects, and return them."""
    if module.params["cluster"] is not None:
        check_cluster(module.params["cluster"], module.params["take_over"])
    from ansible_collections.tke.overlay.plugins.module_utils._host.node.reset import (  # noqa: PLC0415
        remove,  # only here: Python compiles a module at each import on a host
    )

    remains = remove(module.params["device"], module.params["bridge"], run, module.check_mode)
    for warning in remains.warnings:
        module.warn(warning)
    diffs = list(remains.diffs())
    changes = {diff.name: {"removed": diff.before.splitlines()} for diff in diffs}
    result = {"changed": bool(diffs), "changes": short(changes), "counts": counts(changes)}
    return {**result, **diff_of(module, diffs)}


def counts(changes: Result) -> dict[str, int]:
    """Return the number of changes of each kind; foreign entries do not count."""
    numbers = {}
    for kind, change in changes.items():
        if kind == "link":
            numbers[kind] = int(bool(change.get("after") or change.get("removed")))
        elif isinstance(change, dict):
            numbers[kind] = sum(len(lines) for state, lines in change.items() if state != "foreign")
        else:
            numbers[kind] = len(change)
    return {kind: number for kind, number in numbers.items() if number}


def short(value: t.Any) -> t.Any:
    """Return the changes with long lists cut off.

    A controller keeps the results of all hosts, and the result of a new host has three lines per peer.
    """
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > MOST_LINES:
        return [*value[:MOST_LINES], f"and {len(value) - MOST_LINES} more"]
    return value


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, run: Run) -> Result:
        return (present if module.params["state"] == "present" else absent)(module, run)

    run_module(ARGUMENTS, work, required_if=[("state", "present", ("name", "document"))])


if __name__ == "__main__":
    main()
