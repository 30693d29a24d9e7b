#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

DOCUMENTATION = r"""
---
module: api_endpoint
short_description: Lets a host reach the API server through the private load balancer, and makes sure that it does
version_added: 1.0.0
description:
  - Gives names their addresses in a marked block of C(/etc/hosts), keeps a route to the load balancer's subnet where
    the site needs one, and points the clusters of given kubeconfigs to the API server's name.
  - Then waits until the API server really answers - the name resolves, there is a route, TCP connects, the
    certificate is of the CA and for the name, and C(/readyz) answers. Otherwise it fails, and says which of them did
    not and what it saw.
  - Kubeconfigs are changed last, after the endpoint has answered. A run that fails has changed none.
  - Of a kubeconfig only the servers change; every other byte, mode and owner stay. It is read without a YAML library.
    What cannot be read for certain (anchors, tags, several documents) is an error that names the line. JSON is read,
    too.
  - No key and no token is ever shown. The client certificate of a kubeconfig is used to ask C(/readyz).
  - The API server may answer 401 or 403 to somebody who has not the right to know whether it is ready. It is there
    then, so this is a warning. With a client certificate, 401 is an error.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
options:
  state:
    description:
      - With V(present) the host is made so, and the endpoint is waited for. In check mode it is not asked.
      - With V(verified) nothing is changed. The API server and each of O(services) are asked, and whatever is not as
        V(present) would make it is an error.
      - With V(absent) the block, the route and the note are taken away. Kubeconfigs stay as they are, because only
        their owner knows another server for them; point them elsewhere first.
    type: str
    choices: [present, absent, verified]
    default: present
  names:
    description:
      - Names and the address of each; the API server's and those of services. Required unless O(state=absent).
      - A line of somebody else in O(hosts_file) that gives one of them another address is an error.
    type: dict
    default: {}
  api:
    description: The API server. Required unless O(state=absent).
    type: dict
    suboptions:
      name:
        description: Its name, one of O(names). Its certificate must be valid for it.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 6443
  ca:
    description:
      - The CA of the API server's certificate, in PEM form.
      - Not needed where a kubeconfig has one. If there are several, the endpoint must hold with each of them.
    type: str
  ca_file:
    description: The same, as a file on the host.
    type: path
  route:
    description:
      - A route to the load balancer's subnet. It has protocol number 84 and is put back at boot and when it goes
        missing.
      - A route of somebody else to the same subnet is never touched. If it goes by the same gateway, it will do.
    type: dict
    suboptions:
      subnet:
        description: The subnet, of IPv4.
        type: str
        required: true
      via:
        description: The gateway, in one of the host's own networks.
        type: str
        required: true
  kubeconfigs:
    description: Kubeconfigs on the host, by their full names.
    type: list
    elements: path
    default: []
  clusters:
    description:
      - The clusters in O(kubeconfigs) that are pointed to the endpoint, by their names.
      - Without it, a kubeconfig with several clusters is an error.
    type: list
    elements: str
    default: []
  backup:
    description: Whether to keep a copy of a kubeconfig that is changed, beside it, with the same mode and owner.
    type: bool
    default: false
  hosts_file:
    description: The file of names. M(tke.overlay.node) with C(state=absent) knows C(/etc/hosts) only.
    type: path
    default: /etc/hosts
  services:
    description: With O(state=verified), those of O(names) that must answer a TLS greeting by their name, whatever
      their CA.
    type: list
    elements: str
    default: []
  services_port:
    description: The port of the services.
    type: int
    default: 443
  timeout:
    description: Seconds to wait for the endpoint.
    type: int
    default: 30
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Reach the API server and a registry through the load balancer
  tke.overlay.api_endpoint:
    names:
      api.demo.internal: 10.0.2.2
      registry.demo.internal: 10.0.2.3
    api: {name: api.demo.internal}
    kubeconfigs: [/etc/kubernetes/kubelet.conf]
    route: {subnet: 10.0.2.0/24, via: 192.168.1.254}

- name: Look whether all that still holds
  tke.overlay.api_endpoint:
    state: verified
    names:
      api.demo.internal: 10.0.2.2
      registry.demo.internal: 10.0.2.3
    api: {name: api.demo.internal}
    ca_file: /etc/kubernetes/pki/ca.crt
    services: [registry.demo.internal]
    timeout: 5

- name: Take it away
  tke.overlay.api_endpoint:
    state: absent
"""

RETURN = r"""
endpoint:
  description: The address and port of the API server. They are noted on the host in C(/etc/tke-overlay/api-endpoint).
  returned: unless state is absent
  type: str
  sample: 10.0.2.2:6443
stages:
  description: What was seen at each stage, up to the one that failed.
  returned: when the endpoint was asked
  type: dict
  sample:
    name: api.demo.internal is 10.0.2.2
    route: 10.0.2.2 via 192.168.1.254 dev eth0 src 192.168.1.11
    tcp: from 192.168.1.11
    tls: >-
      TLSv1.3, subject CN=api.demo.internal, for api.demo.internal, by CN=demo-ca, valid from 2026-01-01 00:00:00 UTC to
      2027-01-01 00:00:00 UTC
    http: "GET /readyz: 200 OK: ok"
failed_stage:
  description: The stage that failed.
  returned: when the endpoint did not answer
  type: str
  sample: tls
services:
  description: The same as RV(stages) for each service.
  returned: with O(state=verified)
  type: dict
  sample: {registry.demo.internal: {tcp: from 192.168.1.11}}
backups:
  description: The copies of kubeconfigs that were changed.
  returned: success
  type: list
  elements: str
  sample: ["/etc/kubernetes/kubelet.conf.2026-01-01@12:00:00~"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import EndpointCheckError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.converge import (
    EndpointSpec,
    absent,
    present,
    verified,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent", "verified"], "default": "present"},
    "names": {"type": "dict", "default": {}},
    "api": {
        "type": "dict",
        "options": {"name": {"type": "str", "required": True}, "port": {"type": "int", "default": 6443}},
    },
    "ca": {"type": "str"},
    "ca_file": {"type": "path"},
    "route": {
        "type": "dict",
        "options": {"subnet": {"type": "str", "required": True}, "via": {"type": "str", "required": True}},
    },
    "kubeconfigs": {"type": "list", "elements": "path", "default": []},
    "clusters": {"type": "list", "elements": "str", "default": []},
    "backup": {"type": "bool", "default": False},
    "hosts_file": {"type": "path", "default": "/etc/hosts"},
    "services": {"type": "list", "elements": "str", "default": []},
    "services_port": {"type": "int", "default": 443},
    "timeout": {"type": "int", "default": 30},
}


def wish_of(module: AnsibleModule) -> EndpointSpec:
    """The arguments in the words of the engine."""
    params, route = module.params, module.params["route"] or {}
    authority, origin = params["ca"], "ca"
    if params["ca_file"]:
        origin = f"ca_file {params['ca_file']}"
        try:
            with open(params["ca_file"], encoding="utf-8", errors="replace") as stream:
                authority = stream.read()
        except OSError as error:
            raise ValidationError(f"{origin} cannot be read: {error.strerror}") from error
    return EndpointSpec(
        names={str(name): str(address) for name, address in params["names"].items()},
        api_name=params["api"]["name"],
        port=params["api"]["port"],
        authority=authority,
        authority_origin=origin,
        subnet=route.get("subnet"),
        gateway=route.get("via"),
        **{
            key: params[key]
            for key in (
                "hosts_file", "kubeconfigs", "clusters", "backup", "timeout", "services", "services_port"
            )
        },
    )  # fmt: skip


def reach(module: AnsibleModule, run: Run) -> Result:
    """One host, made so or looked at."""
    wish = wish_of(module)
    looks = module.params["state"] == "verified"
    try:
        outcome = verified(wish, run) if looks else present(wish, run, module.check_mode)
    except EndpointCheckError as error:
        done = {"changed": bool(error.done), **diff_of(module, error.done)}
        module.fail_json(msg=str(error), failed_stage=error.stage, stages=error.evidence, **done)
        raise  # it does not come back
    for warning in outcome.warnings:
        module.warn(warning)
    return {
        "changed": bool(outcome.diffs),
        "endpoint": with_port(wish.names[wish.api_name], wish.port),
        "backups": outcome.backups,
        **({"stages": outcome.evidence} if outcome.evidence else {}),
        **({"services": outcome.services} if looks else {}),
        **diff_of(module, outcome.diffs),
    }


def main() -> None:
    """Entry point."""

    def work(module: AnsibleModule, run: Run) -> Result:
        if module.params["state"] != "absent":
            return reach(module, run)
        diffs = absent(module.params["hosts_file"], run, module.check_mode)
        return {"changed": bool(diffs), "backups": [], **diff_of(module, diffs)}

    run_module(
        ARGUMENTS,
        work,
        required_if=[("state", "present", ("names", "api")), ("state", "verified", ("names", "api"))],
        mutually_exclusive=[("ca", "ca_file")],
    )


if __name__ == "__main__":
    main()
