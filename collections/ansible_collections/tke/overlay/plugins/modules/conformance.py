#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: conformance
short_description: Starts Pods by the CNI configuration of a host, and asks the paths that Pods use
version_added: 1.0.0
description:
  - Tests what Pods of a host reach, without Kubernetes. The playbook C(tke.overlay.conformance) calls it.
  - With O(state=present), two Pods start - network namespaces that the CNI configuration of this host connects. It is
    the first file by name in C(/etc/cni/net.d), as for the container runtime, and the plugins are called as the CNI
    specification says. An echo responder listens in each Pod.
  - With O(state=probed), the paths are asked from these Pods and from the host.
  - With O(state=absent), everything is removed - namespaces, links, leases, processes and rules. A timer of systemd
    does the same after O(seconds), also if module and controller were killed.
  - A path that cannot be asked is in the result with the reason.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._document
  - tke.overlay._pods
options:
  state:
    description:
      - Whether Pods run (V(present)), the paths are asked (V(probed)), or nothing of a test is there (V(absent)).
      - In check mode, V(present) returns what it would start, and V(probed) asks nothing.
    type: str
    choices: [present, probed, absent]
    required: true
  seconds:
    description: With O(state=present), the seconds after which the Pods are removed in any case.
    type: int
    default: 120
  paths:
    description: With O(state=probed), the paths to ask.
    type: list
    elements: str
    choices: [pod, mtu, service, clusterip, dns, api, hostport, hairpin, outside, webhook]
    default: [pod, mtu, service, clusterip, dns, api, hostport, hairpin, outside, webhook]
  peers:
    description: With O(state=probed), the return values RV(peer) of all hosts, this one included.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the node.
        type: str
        required: true
      addresses:
        description: The addresses of its Pods.
        type: list
        elements: str
        required: true
      host_port:
        description: The host port of the second Pod.
        type: int
  reason:
    description: With O(state=probed), why this host has no Pods, for the paths that it does not ask.
    type: str
    default: ""
  sites:
    description: The names of the nodes by site, separated by blanks, as M(tke.overlay.plan) returns them.
    type: dict
    default: {}
  services:
    description: Services to connect to, as C(address:port). By default up to three that the rules of kube-proxy name.
    type: list
    elements: str
    default: []
  dns:
    description: The address of the cluster's name server. Without it, the path V(dns) is not asked.
    type: str
  dns_names:
    description: Names that it must resolve.
    type: list
    elements: str
    default: [kubernetes.default.svc.cluster.local]
  outside:
    description:
      - IPv4 addresses outside the cluster that answer echo requests. By default the underlay addresses of up to three
        other nodes.
    type: list
    elements: str
    default: []
  api:
    description: The API server behind the load balancer.
    type: dict
    suboptions:
      name:
        description: The name for which its certificate is valid.
        type: str
        required: true
      address:
        description: Its address, the VIP.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 6443
  ca:
    description:
      - The CA of the API server's certificate, in PEM form. Without it, the API server is not asked by its VIP.
    type: str
seealso:
  - module: tke.overlay.probe
"""

EXAMPLES = r"""
- name: Start two Pods
  tke.overlay.conformance:
    state: present
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"
  register: started

- name: Ask whether they reach each other
  tke.overlay.conformance:
    state: probed
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"
    sites: "{{ plan_result.sites }}"
    peers: "{{ (ansible_play_hosts | tke.overlay.registered(hostvars, 'started', 'peer')).values() | list }}"
    paths: [pod, mtu]

- name: Remove them
  tke.overlay.conformance:
    state: absent
"""

RETURN = r"""
peer:
  description: The Pods of this host, for O(peers) of all hosts.
  returned: with state present
  type: dict
  sample: {name: idc1, addresses: [10.244.2.2, 10.244.2.3], host_port: 28471}
faults:
  description: Why a Pod did not start, or has a wrong address.
  returned: with state present
  type: list
  elements: str
  sample: []
reason:
  description: Why no Pod was started, if that is not a fault - the node CIDR has too few free addresses.
  returned: with state present
  type: str
  sample: ""
planned:
  description: What would be started.
  returned: with state present, in check mode
  type: str
  sample: two Pods by /etc/cni/net.d/10-tke-overlay.conflist (bridge, portmap, host port 28471); 252 addresses are free
removed:
  description: Whether there was anything to remove.
  returned: with state absent
  type: bool
  sample: true
paths:
  description:
    - The result of each path. C(asked) is the number of tests, C(failed) has those that failed.
    - C(reason) says what was not asked, and why.
  returned: with state probed
  type: list
  elements: dict
  sample:
    - path: pod
      asked: 8
      failed: [{target: idc2, text: no answer to small packets}]
      reason: ""
pods:
  description:
    - What prevents Pods of this host from talking, as in the return value of M(tke.overlay.overlay_info).
    - Empty on a host that is not among O(peers), such as a member without Pods.
  returned: with state probed
  type: list
  elements: dict
  sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.results import PATHS
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.run import ApiServer, Targets
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.task import (
    Question,
    ask,
    node_network,
    read_services,
    remove,
    start,
    target_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import read_authority
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings, summarized
from ansible_collections.tke.overlay.plugins.module_utils._module import DOCUMENT, Result, document_of, run_module
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "probed", "absent"], "required": True},
    "name": {"type": "str"},
    "document": {"type": "dict", "options": DOCUMENT},
    "seconds": {"type": "int", "default": 120},
    "paths": {"type": "list", "elements": "str", "choices": list(PATHS), "default": list(PATHS)},
    "peers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "host_port": {"type": "int"},
        },
    },
    "reason": {"type": "str", "default": ""},
    "sites": {"type": "dict", "default": {}},
    "services": {"type": "list", "elements": "str", "default": []},
    "dns": {"type": "str"},
    "dns_names": {"type": "list", "elements": "str", "default": ["kubernetes.default.svc.cluster.local"]},
    "outside": {"type": "list", "elements": "str", "default": []},
    "api": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 6443},
        },
    },
    "ca": {"type": "str"},
    "cni_bin_dirs": {"type": "list", "elements": "str", "default": []},
}


def work(module: AnsibleModule, run: Run) -> Result:
    """Start the Pods, ask the paths, or remove everything."""
    params = module.params
    if params["state"] == "absent":
        known = node_network(document_of(params), params["cni_bin_dirs"]) if params["document"] else None
        removed = not module.check_mode and remove(known, run)
        return {"changed": removed, "removed": removed}
    network = node_network(document_of(params), params["cni_bin_dirs"])
    if params["state"] == "present":
        problems = range_problems("seconds", params["seconds"], 10, 86_400, "seconds")
        if problems:
            raise ValidationError(*problems)
        started = start(network, params["seconds"], run, module.check_mode)
        pods = started.pods
        return {
            "changed": bool(pods.pods or started.planned),
            "peer": {
                "name": params["name"],
                "addresses": [pod.address for pod in pods.pods],
                "host_port": pods.host_port if len(pods.pods) > 1 else None,
            },
            "faults": pods.faults,
            "reason": started.reason,
            "planned": started.planned,
        }
    question = _question(params)
    results = [] if module.check_mode else ask(question, params["paths"], run)
    starts_pods = params["name"] in question.peers  # a member without Pods lacks what they need
    return {
        "changed": False,
        "paths": [{**each._asdict(), "failed": [failure._asdict() for failure in each.failed]} for each in results],
        "pods": summarized(pod_findings(network, run)) if starts_pods else [],
    }


def _question(params: t.Mapping[str, t.Any]) -> Question:
    """Return what this host asks.

    :raises ValidationError: names every value that is not what it should be.
    """
    problems = [
        f"peers: address {shown(address)} of {shown(peer['name'])} is no IPv4 address"
        for peer in params["peers"]
        for address in peer["addresses"]
        if not is_ipv4_address(address)
    ]
    for site, names in params["sites"].items():
        if not isinstance(names, str):
            problems.append(f"sites: {shown(names)} of {shown(site)} is not a text with names")
    authority, services = "", []
    try:
        authority = read_authority(params["ca"].encode("utf-8", "surrogateescape"), "ca") if params["ca"] else ""
    except ValidationError as error:
        problems += error.problems
    try:
        services = read_services(params["services"])
    except ValidationError as error:
        problems += error.problems
    targets = Targets(
        api=_api_server(params["api"], authority),
        services=services,
        dns=params["dns"] or "",
        dns_names=params["dns_names"],
        outside=params["outside"],
    )
    problems += target_problems(targets)
    if problems:
        raise ValidationError(*problems)
    return Question(
        document=document_of(params),
        sites={site: names.split() for site, names in params["sites"].items()},
        peers={peer["name"]: peer for peer in params["peers"]},
        reason=params["reason"],
        targets=targets,
    )


def _api_server(api: t.Mapping[str, t.Any] | None, authority: str) -> ApiServer:
    if api is None:
        return ApiServer(authority=authority, missing="no load balancer (overlay_clb_subnet is not set)")
    missing = "" if authority else "overlay_api_ca is not set"
    return ApiServer(api["name"], api["address"], api["port"], authority, missing)


def main() -> None:
    """Run the module."""
    required = ("name", "document")
    run_module(
        ARGUMENTS,
        work,
        required_if=[("state", "present", required), ("state", "probed", required)],
        required_by={"document": "name"},
    )


if __name__ == "__main__":
    main()
