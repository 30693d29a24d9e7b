#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: flannel
short_description: Removes what flannel has left on a node
version_added: 1.0.0
description:
  - For a cluster that was moved from flannel to the overlay. Run it on a node of the overlay; the playbook
    C(tke.overlay.site) does that with C(overlay_remove_flannel).
  - First it copies the records of the Pods' addresses (host-local) from flannel's CNI network to that of the overlay,
    so that no new Pod gets the address of a running one.
  - Then it removes the VXLAN links C(flannel.N), except the one that the overlay uses; the iptables chains
    C(FLANNEL-FWD) and C(FLANNEL-POSTRTG) with the rules that jump there, as far as iptables-nft manages them; the
    nftables tables C(flannel-ipv4) and C(flannel-ipv6); the files of C(/etc/cni/net.d) that name the plugin
    C(flannel); and C(/run/flannel/subnet.env).
  - It keeps the Pod bridge with its Pods, the former records in C(/var/lib/cni), and C(FLANNEL-FWD) where the policy of
    chain C(FORWARD) is to drop, of which it warns.
  - Stop flanneld before (delete its DaemonSet); it would create its objects again.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
options:
  device:
    description: The VXLAN link of the overlay, which stays. By default the one that was last applied.
    type: str
  node_cidr:
    description: The node CIDR of the host. By default the one that was last applied.
    type: str
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Remove what flannel has left
  tke.overlay.flannel:
"""

RETURN = r"""
removed:
  description: What was removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [link flannel.1, file /etc/cni/net.d/10-flannel.conflist]
addresses:
  description: The addresses of Pods whose records were copied to the network of the overlay.
  returned: success
  type: list
  elements: str
  sample: [10.244.2.7]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._addressing import device_problems, network_problems
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.flannel import Node, remove_leftovers, saved_node
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, run: Run) -> Result:
        found = remove_leftovers(_node_of(module.params), run, module.check_mode)
        for warning in found.warnings:
            module.warn(warning)
        diffs = list(found.diffs())
        return {
            "changed": bool(diffs),
            "removed": found.named(),
            "addresses": [os.path.basename(path) for path in found.addresses],
            **diff_of(module, diffs),
        }

    run_module({"device": {"type": "str"}, "node_cidr": {"type": "str"}}, work)


def _node_of(params: t.Mapping[str, t.Any]) -> Node:
    """Return the options, checked, with the last applied values where they are not set."""
    device, node_cidr = params["device"], params["node_cidr"]
    problems = device_problems("device", device) if device is not None else []
    if node_cidr is not None:
        what = "node_cidr, the node CIDR of the host,"
        problems += network_problems(what, node_cidr)
        problems += [f"{what} {node_cidr} is not an IPv4 network"] if ":" in node_cidr and not problems else []
    if problems:
        raise ValidationError(*problems)
    saved = saved_node()
    return Node(device or saved.device, node_cidr or saved.node_cidr)


if __name__ == "__main__":
    main()
