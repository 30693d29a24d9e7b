#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: wireguard_key
short_description: Makes the private key of WireGuard on a host, and returns its public key
version_added: 1.0.0
description:
  - The playbook C(tke.overlay.site) runs it on each host with a link that has the transport V(wireguard), and
    C(tke.overlay.rotate_keys) for the next generation of keys.
  - The private key is made on the host, in C(/etc/tke-overlay/wireguard-GENERATION.key), which only root can read, and
    never leaves it. It is neither in the result nor in a diff or a backup, and no program has it among its arguments.
  - An existing key is never replaced. Its file gets its mode and owner back.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
requirements:
  - wireguard-tools (on the managed host)
options:
  generation:
    description: The generation of keys, with O(state=present). A rotation of keys makes the next one.
    type: int
    default: 0
  state:
    description:
      - With V(present), the host has a private key of O(generation).
      - With V(absent), the host has no private keys but those of O(keep).
      - V(answered) changes nothing. It waits until each peer that answers by the present keys has also answered by the
        next ones, and fails if one has not within 45 seconds.
    type: str
    choices: [present, absent, answered]
    default: present
  keep:
    description: The generations whose private keys stay. Required with O(state=absent).
    type: list
    elements: int
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Make the key of this host, if it has none
  tke.overlay.wireguard_key:
  register: result

- name: Remove the keys of all former generations
  tke.overlay.wireguard_key:
    state: absent
    keep: [1]

- name: Wait until the peers have answered by the next keys
  tke.overlay.wireguard_key:
    state: answered
"""

RETURN = r"""
public_key:
  description:
    - The public key, in base64. V(-) in check mode on a host that has no private key yet.
  returned: with O(state=present)
  type: str
  sample: HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
removed:
  description: The generations of the private keys that were removed, or would be in check mode.
  returned: with O(state=absent)
  type: list
  elements: int
  sample: [0]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.wireguard_devices import await_next_keys
from ansible_collections.tke.overlay.plugins.module_utils._host.state.wireguard_key import ensure_key, remove_keys
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module

ARGUMENTS = {
    "generation": {"type": "int", "default": 0},
    "state": {"type": "str", "choices": ["present", "absent", "answered"], "default": "present"},
    "keep": {"type": "list", "elements": "int"},
}


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, run: Run) -> Result:
        params, check = module.params, module.check_mode
        if params["state"] == "absent":
            removed = remove_keys(params["keep"], check)
            return {
                "changed": bool(removed.diffs),
                "removed": removed.generations,
                **diff_of(module, removed.diffs),
            }
        if params["state"] == "answered":
            if not check:
                await_next_keys(run)
            return {"changed": False}
        key = ensure_key(params["generation"], run, check)
        diffs = [key.diff] if key.changed else []
        return {"changed": key.changed, "public_key": key.public_key, **diff_of(module, diffs)}

    run_module(
        ARGUMENTS,
        work,
        required_if=[("state", "absent", ["keep"])],
        mutually_exclusive=[("generation", "keep")],
    )


if __name__ == "__main__":
    main()
