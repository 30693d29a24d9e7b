#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

DOCUMENTATION = r"""
---
module: probe
short_description: Asks many peers over the overlay at once, and says who did not answer
version_added: 1.0.0
description:
  - Sends echo requests from the VTEP's address of this host to those of its peers - small ones, then full ones that
    nobody may fragment - and, with O(tcp), makes a TCP connection to each.
  - A peer that answers a small packet and not a full one is behind an MTU black hole; the largest size that passes is
    looked for.
  - At most 4,000 packets a second are sent, so 5,000 peers take about three seconds, and two more attempts for those
    that stay silent.
  - Nothing is changed, on no host. What O(answer) starts ends by itself.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._document
options:
  peers:
    description: Whom to ask, instead of the nodes of a plan.
    type: list
    elements: dict
    suboptions:
      name:
        description: What the peer is called in the result.
        type: str
        required: true
      address:
        description: The VTEP's address of the peer.
        type: str
        required: true
  sites:
    description:
      - With O(document), the nodes to choose from, by site, as M(tke.overlay.plan) returns them. A string has the names
        of the nodes, with blanks between.
      - Without it, all nodes of the plan.
    type: dict
    default: {}
  skip:
    description: With O(document), nodes that are not asked.
    type: list
    elements: str
    default: []
  sample:
    description:
      - With O(document), how many peers to ask; V(0) for all.
      - They are chosen so that every node is asked by as many as it asks, and every pair of O(sites) is covered, if all
        hosts are given the same. For that a host may ask a few more.
    type: int
    default: 0
  source:
    description:
      - The address to ask from.
      - By default the VTEP's address of the plan, or with O(peers) of what was last applied on this host.
    type: str
  size:
    description:
      - The size of a full packet in bytes, as an MTU counts it.
      - By default the MTU of the plan, or with O(peers) of what was last applied on this host.
    type: int
  tcp:
    description:
      - Whether to make a TCP connection, too, to each peer that answers full packets, and have it send back 64 KiB.
      - Some underlays, and some network cards, spoil only TCP inside a tunnel.
      - It needs a peer that answers, see O(answer). One that does not is no finding.
    type: bool
    default: false
  answer:
    description:
      - Answer for so many seconds to what O(tcp) of others asks, on TCP port 8471 of the VTEP's address.
      - A process does so that the module leaves behind; it ends by itself. Another call only sets a new end, V(0) ends
        it at once.
      - Nothing is started in check mode.
    type: int
  attempts:
    description: How often to ask a peer before it is called silent.
    type: int
    default: 3
  timeout:
    description: Seconds to wait for answers after the last packet of each attempt.
    type: float
    default: 1.0
seealso:
  - module: tke.overlay.plan
  - module: tke.overlay.overlay_info
"""

EXAMPLES = r"""
- name: Answer what others ask over TCP, for a minute
  tke.overlay.probe:
    answer: 60

- name: Ask all other nodes of the plan
  tke.overlay.probe:
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"
    tcp: true
  register: asked

- name: Ask two addresses
  tke.overlay.probe:
    peers:
      - {name: idc1, address: 10.244.2.0}
      - {name: idc2, address: 10.244.3.0}
"""

RETURN = r"""
asked:
  description: How many peers were asked.
  returned: success
  type: int
  sample: 3
answered:
  description: How many of them answered a small packet.
  returned: success
  type: int
  sample: 2
size:
  description: The size of a full packet.
  returned: when peers were asked
  type: int
  sample: 1400
rtt_ms:
  description: The round trip in milliseconds, by peer; the faster of a small and of a full packet.
  returned: success
  type: dict
  sample: {cloud2: 0.21, idc1: 0.84}
findings:
  description:
    - What is wrong, an entry for each peer. C(kind) is V(silent), V(mtu) or V(tcp).
    - With V(mtu), C(largest) is the largest size that passes.
  returned: success
  type: list
  elements: dict
  sample:
    - peer: idc2
      address: 10.244.3.0
      kind: silent
      text: idc2 (10.244.3.0) does not answer
      largest: null
tcp:
  description: Which peers sent back over TCP what they were sent, and at which nobody answers (O(answer)).
  returned: success
  type: dict
  sample: {echoed: [cloud2], refused: [idc1]}
plan_current:
  description: Whether this host has the plan of O(document). Where it has not, that may be why a peer is silent.
  returned: when O(document) is given
  type: bool
  sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import applied_plan, is_current
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.run import ProbeTask, given_task, probe, task_of
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import answer
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings
from ansible_collections.tke.overlay.plugins.module_utils._module import DOCUMENT, Result, document_of, run_module

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
}

LIMITS = {"attempts": (1, 10), "timeout": (0.01, 60), "answer": (0, 86_400), "sample": (0, 1_000_000)}


def work(module: AnsibleModule, _run: Run) -> Result:
    """Answers, asks, or both."""
    given = module.params
    problems = [
        f"{option} {given[option]} does not lie between {least} and {most}"
        for option, (least, most) in LIMITS.items()
        if given[option] is not None and not least <= given[option] <= most
    ]
    if problems:
        raise ValidationError(*problems)
    settings = saved_settings()
    nothing: dict[str, t.Any] = {"asked": 0, "answered": 0, "rtt_ms": {}, "findings": []}
    result = {"changed": False, **nothing, "tcp": {"echoed": [], "refused": []}}
    if given["answer"] is not None and not module.check_mode:
        source = given["source"] or settings.get("address", "").partition("/")[0]
        if not source:
            raise ValidationError(
                "this host is no node of the overlay, so there is no address to answer on: set source"
            )
        answer(source, given["answer"])
    task = _task(given, settings)
    if task is None:
        return result
    outcome = probe(task, given["tcp"], given["timeout"], given["attempts"])
    result.update(
        asked=outcome.asked,
        answered=len(outcome.rtt_ms),
        size=task.size,
        rtt_ms=outcome.rtt_ms,
        findings=[finding._asdict() for finding in outcome.findings],
        tcp={"echoed": outcome.echoed, "refused": outcome.refused},
    )
    if given["document"] is not None:
        result["plan_current"] = is_current(applied_plan(), document_of(given))
    return result


def _task(given: t.Mapping[str, t.Any], settings: t.Mapping[str, str]) -> ProbeTask | None:
    if given["document"] is not None:
        sites = {site: names.split() if isinstance(names, str) else names for site, names in given["sites"].items()}
        task = task_of(document_of(given), sites, given["sample"], given["skip"])
    elif given["peers"] is not None:
        task = given_task({peer["name"]: peer["address"] for peer in given["peers"]}, settings)
    else:
        return None
    return task._replace(source=given["source"] or task.source, size=given["size"] or task.size).checked()


def main() -> None:
    """Entry point."""
    run_module(
        ARGUMENTS,
        work,
        required_one_of=[("document", "peers", "answer")],
        mutually_exclusive=[("document", "peers")],
        required_by={"document": "name"},
    )


if __name__ == "__main__":
    main()
