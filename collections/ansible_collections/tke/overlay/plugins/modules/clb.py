#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clb
short_description: Configures a host as one of the pair that carries the private load balancer
version_added: 1.0.0
description:
  - Configures HAProxy and keepalived instances on the host that belong to this collection. Each of the two hosts is the
    preferred host of one of the two VIPs and the standby host of the other. A host carries both VIPs while the other
    host cannot proxy.
  - The VIP V(apiserver) leads to the API servers. The VIP V(services) leads to the services, selected by the server
    name that a TLS client sends (SNI). A connection with another name, or without one, is rejected.
  - The configuration is below C(/etc/tke-overlay/clb). The units are C(tke-overlay-haproxy.service),
    C(tke-overlay-keepalived.service) and C(tke-overlay-clb-health-agent.service). The C(haproxy.cfg) and
    C(keepalived.conf) of the distribution, and instances that use them, are not touched.
  - C(tke-overlay-clb.timer) loads the nftables rules again if another program has removed or changed them.
  - Each program validates its new configuration before anything is changed. It loads the configuration by a reload,
    which drops no connection.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
requirements:
  - haproxy 2.2 or later and keepalived (on the managed host, from its distribution), systemd
options:
  state:
    description:
      - With V(present), the host is configured as one of the pair. All options without a default are required, except
        O(ca).
      - With V(absent), everything that this module installed is removed. The packages stay.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name of this host in O(pair).
    type: str
  pair:
    description:
      - The two hosts. The first is the preferred host of the VIP V(apiserver), the second of the VIP V(services).
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the host.
        type: str
        required: true
      address:
        description: The IPv4 address by which the other host reaches it. The hosts use it for VRRP (IP protocol 112).
        type: str
        required: true
  vips:
    description: The two addresses, as M(tke.overlay.clb_vips) returns them.
    type: dict
    suboptions:
      apiserver:
        description: The VIP of the API servers.
        type: str
        required: true
      services:
        description: The VIP of the services.
        type: str
        required: true
  subnet:
    description: The subnet of the VIPs. They are assigned to the link that has an address of this subnet.
    type: str
  apiservers:
    description: The API servers, a mapping of names to C(address:port).
    type: dict
  api_port:
    description: The port of the VIP V(apiserver).
    type: int
    default: 6443
  services:
    description: The services on port 443 of the VIP V(services), selected by name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The host name that TLS clients send (SNI).
        type: str
        required: true
      backends:
        description: The servers, as C(host:port).
        type: list
        elements: str
        required: true
  listeners:
    description: Services on a TCP port of their own. HAProxy does not inspect their connections.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name of the listener, for the configuration and the metrics.
        type: str
        required: true
      vip:
        description: The VIP on which HAProxy listens.
        type: str
        choices: [apiserver, services]
        default: services
      port:
        description: The TCP port.
        type: int
        required: true
      backends:
        description: The servers, as C(host:port).
        type: list
        elements: str
        required: true
  ca:
    description:
      - The certificate of the cluster's CA (PEM). With it, the health check accepts only API servers with a certificate
        of this CA.
      - Without it, the health check uses TLS without verifying the certificate. Clients verify it themselves in any
        case.
    type: str
  metrics_port:
    description: The port of C(/metrics) for Prometheus, on the address of this host in O(pair).
    type: int
    default: 8405
  vrid:
    description:
      - The VRRP router identifier of the VIP V(apiserver); that of the VIP V(services) is the next number.
      - Choose another one if another VRRP router of these two hosts uses it.
    type: int
    default: 84
  restore_interval:
    description:
      - The number of seconds between two runs of the timer that loads the nftables rules again if another program has
        removed or changed them.
    type: int
    default: 30
  metrics_dir:
    description:
      - The directory of node_exporter's textfile collector on this host. The timer writes C(tke_overlay_clb.prom)
        there, and keepalived counts the changes of its VRRP states. The directory must exist.
      - Without it, the host writes no metrics, and a former file is removed.
    type: str
  cluster:
    description:
      - The cluster of the load balancer, which the host records. A host that carries the load balancer of another
        cluster is an error before anything changes.
      - Without it, nothing is recorded or compared.
    type: str
    default: ""
  take_over:
    description: Other clusters, by name, from which the host may be taken.
    type: list
    elements: str
    default: []
seealso:
  - module: tke.overlay.clb_vips
"""

EXAMPLES = r"""
- name: Configure this host as one of the pair
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

- name: Remove the load balancer from this host
  tke.overlay.clb:
    state: absent
"""

RETURN = r"""
changes:
  description: The files that were changed, and the actions on units.
  returned: success
  type: dict
  sample:
    files: [/etc/tke-overlay/clb/haproxy.cfg]
    units: [reload tke-overlay-haproxy.service]
missing:
  description: The programs that this host lacks. With O(state=present) outside of check mode, this is an error.
  returned: success
  type: list
  elements: str
  sample: [keepalived]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._balancer import VIPS, ProxiedService
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.converge import (
    PairResult,
    check_cluster,
    converge,
    missing_programs,
    remove,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import (
    RESTORE_INTERVAL,
    PairHost,
    PairSpec,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import directory_of
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

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
    "restore_interval": {"type": "int", "default": RESTORE_INTERVAL},
    "metrics_dir": {"type": "str"},
    "cluster": {"type": "str", "default": ""},
    "take_over": {"type": "list", "elements": "str", "default": []},
}


def spec_of(params: Result) -> PairSpec:
    """Return the specification that the arguments describe."""
    pair = [PairHost(**each) for each in params["pair"]]
    names = [host.name for host in pair]
    if len(set(names)) != 2 or len(pair) != 2 or params["name"] not in names:
        raise ValidationError(
            f"pair has the hosts {', '.join(shown(name)[1:-1] for name in names) or '(none)'}: give two hosts, one of "
            f"them {shown(params['name'])[1:-1]} (name)"
        )
    number = names.index(params["name"])
    return PairSpec(
        own=pair[number],
        peer=pair[1 - number],
        preferred_vip=VIPS[number],
        vips=params["vips"],
        subnet=params["subnet"],
        apiservers={str(name): str(server) for name, server in params["apiservers"].items()},
        api_port=params["api_port"],
        services=[ProxiedService(**each) for each in params["services"]],
        listeners=[ProxiedService(**each) for each in params["listeners"]],
        ca=params["ca"] or "",
        metrics_port=params["metrics_port"],
        vrid=params["vrid"],
        restore_interval=params["restore_interval"],
        metrics_dir=directory_of(params["metrics_dir"]),
        cluster=params["cluster"],
        take_over=params["take_over"],
    )


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, run: Run) -> Result:
        if module.params["state"] == "present":
            result = converge(spec_of(module.params), run, module.check_mode)
        else:
            check_cluster(module.params["cluster"], module.params["take_over"])
            result = remove(run, module.check_mode)
        return result_of(module, result)

    run_module(ARGUMENTS, work, required_if=[("state", "present", ("name", "pair", "vips", "subnet", "apiservers"))])


def result_of(module: AnsibleModule, result: PairResult) -> Result:
    """Return the result of the module."""
    changes = {
        "files": [diff.name for diff in result.files],
        "units": [f"{action.verb} {action.unit}" for action in result.actions],
    }
    for warning in result.warnings:
        module.warn(warning)
    missing = missing_programs()
    return {"changed": result.changed, "changes": changes, "missing": missing, **diff_of(module, result.diffs())}


if __name__ == "__main__":
    main()
