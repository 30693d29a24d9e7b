#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: probe
short_description: Probes many peers over the overlay at once and reports those that do not answer
version_added: 1.0.0
description:
  - Sends ICMP echo requests from the VTEP's address of this host to those of its peers, first small packets, then
    full-size packets that must not be fragmented. With O(tcp), it then makes a TCP connection to each peer.
  - A peer that answers small packets but not full-size ones is behind an MTU black hole. The module then measures the
    largest size that passes.
  - It sends at most 4,000 packets a second, so 5,000 peers take about three seconds, plus two more attempts for silent
    peers.
  - The module changes nothing on any host. The echo responder that O(answer) starts ends by itself.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._document
  - tke.overlay._pods
options:
  peers:
    description: The peers to probe, instead of the nodes of a plan.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the peer in the result.
        type: str
        required: true
      address:
        description: The VTEP's address of the peer.
        type: str
        required: true
  sites:
    description:
      - With O(document), the nodes to select peers from, by site, as M(tke.overlay.plan) returns them. A string holds
        the names of the nodes, separated by blanks.
      - By default all nodes of the plan.
    type: dict
    default: {}
  skip:
    description: With O(document), nodes that are not probed.
    type: list
    elements: str
    default: []
  sample:
    description:
      - With O(document), the number of peers to probe; V(0) for all.
      - If all hosts get the same options, every node is probed by as many nodes as it probes, and every pair of
        O(sites) is covered. A host may probe a few more peers for that.
    type: int
    default: 0
  source:
    description:
      - The address to probe from, and to listen on with O(answer).
      - By default the VTEP's address, with O(document) that of the plan, otherwise the one that was last applied on the
        host.
    type: str
  size:
    description:
      - The size of a full-size packet in bytes, as an MTU counts it.
      - By default the MTU, with O(document) that of the plan, with O(peers) the one that was last applied on the host.
    type: int
  tcp:
    description:
      - Whether to make a TCP connection to each peer that answers full-size packets, and to compare an echo of 64 KiB.
      - Some underlays and some network cards break only TCP inside a tunnel.
      - The peer must run the echo responder, see O(answer). A peer that does not is not a finding.
    type: bool
    default: false
  answer:
    description:
      - Run the echo responder for this number of seconds. It answers the probes of peers with O(tcp), on TCP port 8471
        of the VTEP's address.
      - The echo responder is a background process that ends by itself. A further call sets a new end; V(0) ends it at
        once.
      - In check mode, it is not started.
    type: int
  pods:
    description:
      - Whether to return what prevents Pods of this host from talking, see RV(pods). The probes go from VTEP to VTEP
        and do not show it.
    type: bool
    default: false
  attempts:
    description: The number of attempts before a peer counts as silent.
    type: int
    default: 3
  timeout:
    description: Seconds to wait for replies after the last packet of each attempt.
    type: float
    default: 1.0
seealso:
  - module: tke.overlay.plan
  - module: tke.overlay.overlay_info
"""

EXAMPLES = r"""
- name: Start the echo responder for a minute
  tke.overlay.probe:
    answer: 60

- name: Probe all other nodes of the plan
  tke.overlay.probe:
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"
    tcp: true
  register: probe_result

- name: Probe two addresses
  tke.overlay.probe:
    peers:
      - {name: idc1, address: 10.244.2.0}
      - {name: idc2, address: 10.244.3.0}
"""

RETURN = r"""
asked:
  description: The number of peers that were probed.
  returned: success
  type: int
  sample: 3
answered:
  description: The number of peers that answered small packets.
  returned: success
  type: int
  sample: 2
size:
  description: The size of a full-size packet.
  returned: when peers were probed
  type: int
  sample: 1400
rtt_ms:
  description: The round-trip time in milliseconds by peer, the faster one of a small and a full-size packet.
  returned: success
  type: dict
  sample: {cloud2: 0.21, idc1: 0.84}
findings:
  description:
    - The faults, one entry per peer with a fault. C(kind) is V(silent), V(mtu) or V(tcp).
    - With V(mtu), C(largest) is the largest size that passes.
    - With V(silent) and O(document), C(underlay) is whether the underlay address of the peer answers.
  returned: success
  type: list
  elements: dict
  sample:
    - peer: idc2
      address: 10.244.3.0
      kind: silent
      text: idc2 (10.244.3.0) does not answer
      largest: null
      underlay: true
tcp:
  description:
    - The results of O(tcp). C(echoed) has the peers that returned what was sent, C(refused) those where no echo
      responder runs.
  returned: success
  type: dict
  sample: {echoed: [cloud2], refused: [idc1]}
filters:
  description:
    - Chains and rules of foreign firewalls on this host that can drop what its peers send to it. C(drops) names it -
      packets of the tunnel (V(tunnel)), and out of the tunnel echo requests (V(ping)) or TCP to the echo responder
      (V(tcp)). C(remedy) opens the firewall.
    - C(transport) is the tunnel, V(vxlan) or V(wireguard). With O(document), each one is examined that the links of
      this host need; without, that of VXLAN.
    - They explain probes of other hosts that have failed; they do not concern packets of Pods.
  returned: when peers were probed
  type: list
  elements: dict
  sample:
    - drops: [tcp]
      text: chain INPUT of the nftables table ip filter drops what it does not name, such as TCP port 8471 on tke0
      remedy: ufw allow 8472/udp && ufw allow in on tke0
      some: false
      transport: vxlan
counters:
  description:
    - Counters of this host. Their increase during the probes of other hosts explains probes that have failed.
    - C(wrong_checksums) counts TCP segments that arrived with a wrong checksum, C(not_a_peer) tunnel packets that were
      dropped because their source is no peer.
  returned: success
  type: dict
  sample: {wrong_checksums: 0, not_a_peer: 0}
pods:
  description: What prevents Pods of this host from talking, as in the return value of M(tke.overlay.overlay_info).
  returned: with O(pods)
  type: list
  elements: dict
  sample:
    - check: forwarding
      text: "net.ipv4.conf.tke-br0.forwarding is 0: Pods reach only other Pods of this host"
      remedy: sysctl -w net.ipv4.conf.tke-br0.forwarding=1
      severity: bad
plan_current:
  description: Whether this host has applied the plan of O(document). If not, a peer may be silent for that reason.
  returned: when O(document) is given
  type: bool
  sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings, summarized
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import saved_network
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import applied_plan, is_current
from ansible_collections.tke.overlay.plugins.module_utils._host.node.tunnel_filters import (
    Filter,
    TunnelEnds,
    tunnel_filters,
    tunnels_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.echo_responder import keep_responding
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.evidence import read_counters
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.run import (
    ProbeTask,
    probe,
    task_for_document,
    task_for_peers,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import PORT
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings
from ansible_collections.tke.overlay.plugins.module_utils._module import DOCUMENT, Result, document_of, run_module
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

ARGUMENTS = {
    "name": {"type": "str"},
    "document": {"type": "dict", "options": DOCUMENT},
    "peers": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, "address": {"type": "str", "required": True}},
    },
    "sites": {"type": "dict", "default": {}},
    "skip": {"type": "list", "elements": "str", "default": []},
    "sample": {"type": "int", "default": 0},
    "source": {"type": "str"},
    "size": {"type": "int"},
    "tcp": {"type": "bool", "default": False},
    "answer": {"type": "int"},
    "attempts": {"type": "int", "default": 3},
    "timeout": {"type": "float", "default": 1.0},
    "pods": {"type": "bool", "default": False},
    "cni_bin_dirs": {"type": "list", "elements": "str", "default": []},
}

LIMITS = {"attempts": (1, 10), "timeout": (0.01, 60), "answer": (0, 86_400), "sample": (0, 1_000_000)}


def work(module: AnsibleModule, run: Run) -> Result:
    """Run the echo responder, probe peers, or both."""
    params = module.params
    problems = [
        f"{option} {params[option]} is not between {least} and {most}"
        for option, (least, most) in LIMITS.items()
        if params[option] is not None and not least <= params[option] <= most
    ]
    source = params["source"]
    if source is not None and not is_ipv4_address(source):
        problems.append(f"source {shown(source)} is no IPv4 address")
    problems += [
        f"sites: {shown(names)} of {shown(site)} is not a list of names"
        for site, names in params["sites"].items()
        if not _are_names(names)
    ]
    if problems:
        raise ValidationError(*problems)
    settings = saved_settings()
    if params["answer"] is not None and not module.check_mode:
        source = params["source"] or settings.get("address", "").partition("/")[0]
        if not source:
            raise ValidationError(
                "this host is no node of the overlay, so the echo responder has no address to listen on: set source"
            )
        keep_responding(source, params["answer"])
    pods: Result = {}
    if params["pods"]:
        network = saved_network(params["cni_bin_dirs"])
        pods = {"pods": summarized(pod_findings(network, run)) if network else []}
    task = _task(params, settings)
    if task is None:
        return {
            **pods,
            "changed": False,
            "asked": 0,
            "answered": 0,
            "rtt_ms": {},
            "findings": [],
            "tcp": {"echoed": [], "refused": []},
            "counters": read_counters(run),
        }
    outcome = probe(task, params["tcp"], params["timeout"], params["attempts"])
    result: Result = {
        **pods,
        "changed": False,
        "asked": outcome.probed,
        "answered": len(outcome.rtt_ms),
        "size": task.size,
        "rtt_ms": outcome.rtt_ms,
        "findings": [finding._asdict() for finding in outcome.findings],
        "tcp": {"echoed": outcome.echoed, "refused": outcome.refused},
        "filters": [each._asdict() for each in _filters(params, settings, run)],
        "counters": read_counters(run),
    }
    if params["document"] is not None:
        result["plan_current"] = is_current(applied_plan(), document_of(params))
    return result


def _filters(params: t.Mapping[str, t.Any], settings: t.Mapping[str, str], run: Run) -> list[Filter]:
    """Return the filters in the way of the tunnels, by the plan; without one, of VXLAN as it was last applied."""
    if params["document"] is None:
        tunnels = [TunnelEnds(settings.get("device", "tke0"), int(settings.get("port", 8472)), PORT)]
    else:
        tunnels = tunnels_of(document_of(params), PORT)
    return [each for ends in tunnels for each in tunnel_filters(ends, run)]


def _are_names(names: t.Any) -> bool:
    """Whether a value is a list of texts, or one text with names separated by spaces."""
    return isinstance(names, str) or (isinstance(names, list) and all(isinstance(name, str) for name in names))


def _task(params: t.Mapping[str, t.Any], settings: t.Mapping[str, str]) -> ProbeTask | None:
    """Return the peers to probe, or ``None`` if only the echo responder is to run."""
    if params["document"] is not None:
        sites = {site: names.split() if isinstance(names, str) else names for site, names in params["sites"].items()}
        task = task_for_document(document_of(params), sites, params["sample"], params["skip"])
    elif params["peers"] is not None:
        task = task_for_peers({peer["name"]: peer["address"] for peer in params["peers"]}, settings)
    else:
        return None
    return task._replace(source=params["source"] or task.source).with_size(params["size"]).validated()


def main() -> None:
    """Run the module."""
    run_module(
        ARGUMENTS,
        work,
        required_one_of=[("document", "peers", "answer")],
        mutually_exclusive=[("document", "peers")],
        required_by={"document": "name"},
    )


if __name__ == "__main__":
    main()
