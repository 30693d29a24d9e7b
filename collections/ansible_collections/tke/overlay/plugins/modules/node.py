#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node
short_description: Makes one host a node of the overlay
version_added: 1.0.0
description:
  - Gives the host all that the plan says it must have, in one call - the VXLAN link with its MAC, MTU and address;
    neighbour, FDB entry and route of every peer; the blackhole route of its own node CIDR; the nftables table
    C(inet tke_overlay); forwarding; the CNI configuration of its Pods; and a systemd service and timer that put all of
    it back at boot, and when something of it is lost.
  - Reads the kernel's tables, compares, applies one batch for each, and reads back.
  - A change of the kernel's tables is saved only after it was confirmed. The host must still reach its API endpoint,
    where it has one noted in C(/etc/tke-overlay/api-endpoint) that answered before; and the controller must still reach
    the host, over a new connection. Without that, within O(confirm_timeout), a transient systemd timer on the host
    brings back what was there before, whether or not the controller lives. So does a reboot in between.
  - What fails after the first change, whatever it is, is rolled back at once. The task then fails, and says both.
  - Nothing that is not ours is touched. What is in the way and not ours is an error, before anything has changed.
  - Warns where another firewall of the host forwards nothing for Pods, and says what opens it.
  - Facts of other hosts are not needed, so O(name) can be alone in a run, and a dead peer stops nobody.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay.attributes
  - tke.overlay.attributes.host
  - tke.overlay.document
attributes:
  action:
    description: Has an action plugin, which confirms a change over a new connection to the host.
    support: full
options:
  state:
    description:
      - With V(present) the host is what the plan says.
      - With V(absent) all managed objects is removed. The host keeps its node CIDR; that is a matter
        of the ledger. What is on the host says what to remove, so O(name) and O(document) are not needed.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name of this host in the plan. Required with O(state=present), and so is O(document).
    type: str
  phase:
    description:
      - How far to go where other hosts must go along, because peers have other underlay addresses than before, this
        host has, or the port of the tunnel is another. Whoever is not concerned by that converges in any phase.
      - V(prepare) lets in the new beside the old, changes nothing else, and returns RV(unfinished).
      - V(cutover), when all hosts have prepared, sends by the new plan and still lets in the old.
      - V(finalize) leaves only the new. Alone it interrupts the flows from one host to another until both have it.
    type: str
    choices: [finalize, prepare, cutover]
    default: finalize
  restore_interval:
    description: Seconds from one look of the timer to the next.
    type: int
    default: 30
  confirm_timeout:
    description:
      - How many seconds a change of the kernel's tables waits for its confirmation, before the host undoes it by
        itself. From 3 to 3600. The API endpoint has to answer within two thirds of it.
      - Where nothing differs but files, there is nothing to confirm.
      - With V(0), and on a host without systemd, a change is saved as soon as the kernel holds it, and neither the API
        endpoint nor the way to the controller is looked at. What fails is still rolled back.
    type: int
    default: 30
  confirmation:
    description: By what the action plugin knows the change of this run. It is set there; what a task says is not used.
    type: str
    default: ""
  device:
    description: With O(state=absent), the VXLAN link to remove where the files of the host do not name it.
    type: str
    default: tke0
  bridge:
    description:
      - With O(state=absent), the Pod bridge to remove where the files of the host do not name it.
      - It stays as long as Pods are on it.
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

- name: Make this host what the plan says
  tke.overlay.node:
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"

- name: Take this host out
  tke.overlay.node:
    state: absent
"""

RETURN = r"""
changes:
  description:
    - What was added, changed and removed in each table, an entry a line, in the words of iproute2.
    - Entries on our device that belong to somebody else are listed as C(foreign); they are left alone.
    - Of a list that is longer than 50 entries the rest is left out, and its last entry says how many.
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
unfinished:
  description: Whether O(phase=prepare) has left work to later phases. RV(changes) says what the three change together.
  returned: with O(state=present)
  type: bool
  sample: false
counts:
  description: How much was added, changed and removed of each kind; what is not named was as it should be.
  returned: success
  type: dict
  sample: {link: 1, route: 4, fdb: 3, neighbor: 3, rules: 31, files: 15, sysctls: 2, units: 2}
confirmed:
  description: That the change was confirmed over a new connection, and so saved.
  returned: when the kernel's tables were changed and a confirmation was needed
  type: bool
  sample: true
rolled_back:
  description:
    - Whether the host was found as it was before the change, once it had undone it.
    - V(false) if it could not be reached again, or not all is as before; RV(ignore:msg) says which.
  returned: when the confirmation failed
  type: bool
  sample: true
recreated:
  description: Why the device had to be made anew. Its table entries were put back in the same call.
  returned: when the link was there and was made anew
  type: str
  sample: port 4789 -> 8472 cannot be changed on a living device
"""

import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    CHANGE_STARTED,
    CONFIRM_SECONDS,
    Confirmation,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.converge import ConvergeOptions, converge
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import FINALIZE, PHASES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import blocking_firewalls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.reset import remove
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import INTERVAL
from ansible_collections.tke.overlay.plugins.module_utils._module import (
    DOCUMENT,
    Result,
    diff_of,
    document_of,
    run_module,
)

MOST_LINES = 50
"""Of each kind of change in a result; the diff has all."""

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str"},
    "phase": {"type": "str", "choices": list(PHASES), "default": FINALIZE},
    "restore_interval": {"type": "int", "default": INTERVAL},
    "confirm_timeout": {"type": "int", "default": CONFIRM_SECONDS},
    "device": {"type": "str", "default": "tke0"},
    "bridge": {"type": "str", "default": "tke-br0"},
    "document": {"type": "dict", "options": DOCUMENT},
    "confirmation": {"type": "str", "default": ""},
}


def present(module: AnsibleModule, run: Run) -> Result:
    """One host, from its document to the report of what was different."""
    params = module.params
    document = document_of(params)
    confirmation = Confirmation(params["confirmation"], params["confirm_timeout"])
    options = ConvergeOptions(params["restore_interval"], params["phase"], confirmation, _announce_change)
    outcome = converge(document, run, module.check_mode, options)
    if not outcome.systemd:
        module.warn("this host does not run systemd, so nothing will put the overlay back after a reboot")
    ways = blocking_firewalls(document["device"], document["port"], document["bridge"], document["container_cidr"], run)
    for warning in (*outcome.warnings, *ways):
        module.warn(warning)
    changes = {
        "link": {"before": outcome.link.before, "after": outcome.link.after},
        **{name: delta.lines() for name, delta in outcome.tables.items()},
        "files": [diff.name for diff in outcome.files],
        "sysctls": [diff.name for diff in outcome.sysctls],
        "units": [diff.name for diff in outcome.units],
    }
    result = {
        "changed": outcome.changed,
        "changes": short(changes),
        "unfinished": outcome.unfinished,
        "counts": counts(changes),
        **diff_of(module, outcome.diffs()),
    }
    if outcome.link.recreated:
        result["recreated"] = outcome.link.recreated
    if outcome.seconds_to_confirm is not None:
        result["seconds_to_confirm"] = outcome.seconds_to_confirm
    return result


def _announce_change() -> None:
    """Report to the action plugin that the change starts, on the only channel that survives a broken connection."""
    sys.stderr.write(f"{CHANGE_STARTED}\n")
    sys.stderr.flush()


def absent(module: AnsibleModule, run: Run) -> Result:
    """One host, from what is ours on it to nothing."""
    remains = remove(module.params["device"], module.params["bridge"], run, module.check_mode)
    for warning in remains.warnings:
        module.warn(warning)
    diffs = list(remains.diffs())
    changes = {diff.name: {"removed": diff.before.splitlines()} for diff in diffs}
    result = {"changed": bool(diffs), "changes": short(changes), "counts": counts(changes)}
    return {**result, **diff_of(module, diffs)}


def counts(changes: Result) -> dict[str, int]:
    """How much was changed of each kind; what is foreign was not."""
    numbers = {}
    for kind, change in changes.items():
        if kind == "link":
            numbers[kind] = int(bool(change.get("after") or change.get("removed")))
        elif isinstance(change, dict):
            numbers[kind] = sum(len(lines) for word, lines in change.items() if word != "foreign")
        else:
            numbers[kind] = len(change)
    return {kind: number for kind, number in numbers.items() if number}


def short(value: t.Any) -> t.Any:
    """The same with long lists cut: a controller keeps the results of all hosts, and a fresh one has 3 lines a peer."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > MOST_LINES:
        return [*value[:MOST_LINES], f"and {len(value) - MOST_LINES} more"]
    return value


def main() -> None:
    """Entry point."""

    def work(module: AnsibleModule, run: Run) -> Result:
        return (present if module.params["state"] == "present" else absent)(module, run)

    run_module(ARGUMENTS, work, required_if=[("state", "present", ("name", "document"))])


if __name__ == "__main__":
    main()
