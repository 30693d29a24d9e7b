#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

DOCUMENTATION = r"""
---
module: clb
short_description: Makes one host one of the pair that is the private load balancer
version_added: 1.0.0
description:
  - Gives the host an HAProxy and a keepalived of its own, in one call. Each of the two hosts is at home for one of the
    two VIPs, and takes both when the other host cannot proxy.
  - The VIP V(apiserver) leads to the API servers, the VIP V(services) by the name that a TLS client asks for (SNI) to
    the services; who asks for another name, or for none, is refused.
  - Configurations are below C(/etc/tke-overlay/clb) and run as the units C(tke-overlay-haproxy.service),
    C(tke-overlay-keepalived.service) and C(tke-overlay-clb-watch.service). The distribution's C(haproxy.cfg) and
    C(keepalived.conf), and whatever runs with them, are not touched.
  - Every configuration is checked by its own program before anything is changed, and taken with a reload, which drops
    no connection.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
requirements:
  - haproxy 2.6 or later and keepalived 2.2 or later (on the managed host, from its distribution), systemd
options:
  state:
    description:
      - With V(present) the host is one of the pair. All options without a default are then required, O(ca) excepted.
      - With V(absent) all that this module has made on it is removed. The packages stay.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name of this host in O(pair).
    type: str
  pair:
    description:
      - The two hosts. The VIP V(apiserver) is at home on the first, the VIP V(services) on the second.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the host.
        type: str
        required: true
      address:
        description: The IPv4 address by which the other host reaches it. Over it they speak VRRP (IP protocol 112).
        type: str
        required: true
  vips:
    description: The two addresses, as M(tke.overlay.clb_vips) returns them.
    type: dict
    suboptions:
      apiserver:
        description: The address before the API servers.
        type: str
        required: true
      services:
        description: The address before the services.
        type: str
        required: true
  subnet:
    description: The subnet of the VIPs. They are put on the link that has an address of it.
    type: str
  apiservers:
    description: The API servers, from names to C(address:port).
    type: dict
  api_port:
    description: The port of the VIP V(apiserver).
    type: int
    default: 6443
  services:
    description: What is reached by name, on port 443 of the VIP V(services).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The host name that clients ask for.
        type: str
        required: true
      backends:
        description: Where it is, as C(host:port).
        type: list
        elements: str
        required: true
  listeners:
    description: What is reached by a port of its own, without a look into it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name of your choice.
        type: str
        required: true
      vip:
        description: Which of the VIPs it listens on.
        type: str
        choices: [apiserver, services]
        default: services
      port:
        description: The TCP port.
        type: int
        required: true
      backends:
        description: Where it is, as C(host:port).
        type: list
        elements: str
        required: true
  ca:
    description:
      - The certificate of the cluster's CA (PEM). The health check then accepts only API servers with a certificate of
        it.
      - Without it the health check speaks TLS, and looks at no certificate. Clients look at it themselves in any case.
    type: str
  metrics_port:
    description: The port of C(/metrics) for Prometheus, on the address of this host in O(pair).
    type: int
    default: 8405
  vrid:
    description:
      - The VRRP router identifier of the VIP V(apiserver); that of the VIP V(services) is the next number.
      - Choose another one if other routers of these two hosts have it.
    type: int
    default: 84
seealso:
  - module: tke.overlay.clb_vips
"""

EXAMPLES = r"""
- name: Make this host one of the pair
  tke.overlay.clb:
    name: "{{ inventory_hostname }}"
    pair:
      - {name: clb1, address: 10.0.2.11}
      - {name: clb2, address: 10.0.2.12}
    vips: "{{ {'apiserver': clb_vips_result.apiserver, 'services': clb_vips_result.services} }}"
    subnet: 10.0.2.0/24
    apiservers:
      api1: 10.0.1.21:6443
      api2: 10.0.1.22:6443
    ca: "{{ lookup('ansible.builtin.file', 'api-ca.crt') }}"
    services:
      - {name: registry.example.net, backends: ["10.0.1.31:443", "10.0.1.32:443"]}
    listeners:
      - {name: ntske, port: 4460, backends: ["10.0.1.33:4460"]}
  throttle: 1

- name: Take it away again
  tke.overlay.clb:
    state: absent
"""

RETURN = r"""
changes:
  description: The files that were changed, and what was done to which unit.
  returned: success
  type: dict
  sample:
    files: [/etc/tke-overlay/clb/haproxy.cfg]
    units: [reload tke-overlay-haproxy.service]
missing:
  description: The programs that this host lacks. Outside of check mode, and with O(state=present), that is an error.
  returned: success
  type: list
  elements: str
  sample: [keepalived]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    VIPS,
    PairHost,
    PairSpec,
    Proxied,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.converge import (
    PairResult,
    converge,
    missing_programs,
    remove,
)
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module

BACKENDS = {"type": "list", "elements": "str", "required": True}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str"},
    "pair": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, "address": {"type": "str", "required": True}},
    },
    "vips": {"type": "dict", "options": {vip: {"type": "str", "required": True} for vip in VIPS}},
    "subnet": {"type": "str"},
    "apiservers": {"type": "dict"},
    "api_port": {"type": "int", "default": 6443},
    "services": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "backends": BACKENDS},
    },
    "listeners": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "vip": {"type": "str", "choices": list(VIPS), "default": "services"},
            "port": {"type": "int", "required": True},
            "backends": BACKENDS,
        },
    },
    "ca": {"type": "str"},
    "metrics_port": {"type": "int", "default": 8405},
    "vrid": {"type": "int", "default": 84},
}


def spec_of(params: Result) -> PairSpec:
    """The specification among the arguments."""
    pair = [PairHost(**each) for each in params["pair"]]
    names = [host.name for host in pair]
    if len(set(names)) != 2 or len(pair) != 2 or params["name"] not in names:
        raise ValidationError(
            f"pair names {', '.join(names) or 'nobody'}: it takes two hosts, one of them {params['name']}"
        )
    number = names.index(params["name"])
    return PairSpec(
        own=pair[number],
        peer=pair[1 - number],
        home=VIPS[number],
        vips=params["vips"],
        subnet=params["subnet"],
        apiservers={str(name): str(server) for name, server in params["apiservers"].items()},
        api_port=params["api_port"],
        services=[Proxied(**each) for each in params["services"]],
        listeners=[Proxied(**each) for each in params["listeners"]],
        ca=params["ca"] or "",
        metrics_port=params["metrics_port"],
        vrid=params["vrid"],
    )


def main() -> None:
    """Entry point."""

    def work(module: AnsibleModule, run: Run) -> Result:
        if module.params["state"] == "present":
            outcome = converge(spec_of(module.params), run, module.check_mode)
        else:
            outcome = remove(run, module.check_mode)
        return result_of(module, outcome)

    run_module(ARGUMENTS, work, required_if=[("state", "present", ("name", "pair", "vips", "subnet", "apiservers"))])


def result_of(module: AnsibleModule, outcome: PairResult) -> Result:
    """What the module returns."""
    changes = {
        "files": [diff.name for diff in outcome.files],
        "units": [f"{act.verb} {act.unit}" for act in outcome.acts],
    }
    missing = missing_programs()
    return {"changed": outcome.changed, "changes": changes, "missing": missing, **diff_of(module, outcome.diffs())}


if __name__ == "__main__":
    main()
