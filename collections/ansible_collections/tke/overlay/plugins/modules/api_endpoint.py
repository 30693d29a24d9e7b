#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: api_endpoint
short_description: Configures how a host reaches the API server through the load balancer, and checks it
version_added: 1.0.0
description:
  - Assigns addresses to names in a marked block of C(/etc/hosts), adds a route to the subnet of the load balancer where
    the site needs one, and sets the API server's name as the server of clusters in given kubeconfigs.
  - Then waits until the API server answers - the name resolves, a route exists, TCP connects, the certificate is signed
    by the CA and valid for the name, and C(/readyz) answers. If it does not, the module fails and reports which stage
    failed and what it saw there.
  - Kubeconfigs are changed last, after the endpoint has answered. A run that fails has changed no kubeconfig.
  - In a kubeconfig, only the servers change; every other byte, the mode and the owner stay. The module reads it without
    a YAML library. Unsupported syntax (anchors, tags, several documents) is an error that names the line. JSON is
    supported.
  - Keys and tokens are never shown. The client certificate of a kubeconfig is used for the request to C(/readyz).
  - An API server answers 401 or 403 to a client that has no permission to read whether it is ready. It is reachable
    then, so this is a warning. With a client certificate, 401 is an error.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
options:
  state:
    description:
      - With V(present), the module configures the host and waits for the endpoint. In check mode it does not check the
        endpoint.
      - With V(verified), the module changes nothing. It checks the API server and each of O(services). Everything that
        V(present) would change is an error.
      - With V(restarted), services of O(kubeconfig_services) that keep the former server of a kubeconfig are restarted
        if the endpoint answers from this host, and nothing else is changed. A playbook that runs this on one node
        after the other, after O(restart_services=false) on all, never restarts two at the same time.
      - With V(absent), the block, the route and the noted endpoint are removed. Kubeconfigs stay as they are, because
        only their owner knows which server they should have instead; change them first.
    type: str
    choices: [present, absent, verified, restarted]
    default: present
  names:
    description:
      - A mapping of names to addresses, for the API server and for services. Required unless O(state=absent).
      - A foreign line in O(hosts_file) that gives one of these names another address is an error.
    type: dict
    default: {}
  api:
    description: The API server. Required unless O(state=absent).
    type: dict
    suboptions:
      name:
        description: Its name, one of O(names). Its certificate must be valid for this name.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 6443
  ca:
    description:
      - The CA of the API server's certificate, in PEM form. What OpenSSL skips around it (comments in any encoding, a
        byte order mark, a private key) may be there, and so may further certificates.
      - Not required if a kubeconfig has a CA. With several CAs, the certificate of the endpoint must be valid with each
        of them.
    type: str
  ca_file:
    description: The CA of the API server's certificate, as a file on the host, in PEM or DER form.
    type: path
  route:
    description:
      - A route to the subnet of the load balancer. It has protocol number 144. It is restored at boot and when it is
        missing.
      - A foreign route to the same subnet is never touched. If it has the same gateway, no route is added.
    type: dict
    suboptions:
      subnet:
        description: The IPv4 subnet.
        type: str
        required: true
      via:
        description: The gateway, in a network of the host.
        type: str
        required: true
  kubeconfigs:
    description:
      - Kubeconfigs on the host, as absolute paths.
      - One that is not there yet, as on a host that has not joined a cluster, is no error - see
        RV(missing_kubeconfigs). A directory, a link that leads nowhere, an empty or an unreadable file is one.
      - If none is there, and O(ca) and O(ca_file) are not set, the certificate of the API server is not verified. The
        module warns of that. No credentials are sent.
    type: list
    elements: path
    default: []
  kubeconfigs_required:
    description: Whether a kubeconfig that is not there is an error.
    type: bool
    default: false
  clusters:
    description:
      - The names of the clusters in O(kubeconfigs) whose server is changed.
      - Without this option, a kubeconfig with several clusters is an error. With it, a name that no kubeconfig has is
        an error.
    type: list
    elements: str
    default: []
  backup:
    description:
      - Whether to keep a copy of a changed kubeconfig in the same directory, with the same owner and readable only for
        it. A change that fails leaves no copy.
    type: bool
    default: false
  kubeconfig_services:
    description:
      - Services of systemd that use O(kubeconfigs), such as V(kubelet). A program reads its kubeconfig when it starts,
        so a service that has run since before the server was changed, or is connected to the former server, is
        restarted after the endpoint has answered. Others are left alone, and so is a service that does not run.
      - The module waits until the service is connected to the API endpoint, at most 10 seconds.
      - A service that is not listed here and keeps the former server is named in a warning.
    type: list
    elements: str
    default: []
  restart_services:
    description: Whether O(state=present) restarts them. Otherwise RV(to_restart) has their names.
    type: bool
    default: true
  hosts_file:
    description: The file that holds the names. M(tke.overlay.node) with C(state=absent) cleans up C(/etc/hosts) only.
    type: path
    default: /etc/hosts
  services:
    description: With O(state=verified), those of O(names) that must complete a TLS handshake under their name. Their CA
      is not verified.
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

- name: Check that the endpoint and a service answer
  tke.overlay.api_endpoint:
    state: verified
    names:
      api.demo.internal: 10.0.2.2
      registry.demo.internal: 10.0.2.3
    api: {name: api.demo.internal}
    ca_file: /etc/kubernetes/pki/ca.crt
    services: [registry.demo.internal]
    timeout: 5

- name: Remove the configuration of the endpoint
  tke.overlay.api_endpoint:
    state: absent
"""

RETURN = r"""
endpoint:
  description: The address and port of the API server. The host keeps them in C(/etc/tke-overlay/api-endpoint).
  returned: unless state is absent
  type: str
  sample: 10.0.2.2:6443
stages:
  description: What the check saw at each stage, up to the one that failed.
  returned: when the endpoint was checked
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
  description: As RV(stages), for each service.
  returned: with O(state=verified)
  type: dict
  sample: {registry.demo.internal: {tcp: from 192.168.1.11}}
changes:
  description: What was changed, or would be in check mode - V(route), files, and services that were restarted.
  returned: always
  type: list
  elements: str
  sample: [/etc/hosts, /etc/kubernetes/kubelet.conf, kubelet.service]
missing_kubeconfigs:
  description: Those of O(kubeconfigs) that are not there yet.
  returned: unless state is absent
  type: list
  elements: str
  sample: [/etc/kubernetes/kubelet.conf]
restarted:
  description: The services of O(kubeconfig_services) that were restarted, or would be in check mode.
  returned: unless state is absent
  type: list
  elements: str
  sample: [kubelet.service]
to_restart:
  description: The services of O(kubeconfig_services) that keep the former server until O(state=restarted).
  returned: unless state is absent
  type: list
  elements: str
  sample: [kubelet.service]
outdated:
  description: Services and containers that use the former server of a kubeconfig until somebody restarts them.
  returned: unless state is absent
  type: list
  elements: str
  sample: [kube-proxy.service]
backups:
  description: The copies of changed kubeconfigs.
  returned: success
  type: list
  elements: str
  sample: ["/etc/kubernetes/kubelet.conf.2026-01-01@12:00:00~"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import EndpointCheckError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.converge import (
    absent,
    present,
    restarted,
    verified,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.spec import EndpointSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module
from ansible_collections.tke.overlay.plugins.module_utils._names import path_problems

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent", "verified", "restarted"], "default": "present"},
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
    "kubeconfigs_required": {"type": "bool", "default": False},
    "kubeconfig_services": {"type": "list", "elements": "str", "default": []},
    "restart_services": {"type": "bool", "default": True},
    "hosts_file": {"type": "path", "default": "/etc/hosts"},
    "services": {"type": "list", "elements": "str", "default": []},
    "services_port": {"type": "int", "default": 443},
    "timeout": {"type": "int", "default": 30},
}


def spec_of(module: AnsibleModule) -> EndpointSpec:
    """Return the specification that the arguments describe."""
    params, route = module.params, module.params["route"] or {}
    authority, origin = None if params["ca"] is None else params["ca"].encode("utf-8", "surrogateescape"), "ca"
    if params["ca_file"] is not None:
        origin = f"ca_file {params['ca_file']}"
        problems = path_problems("ca_file", params["ca_file"])
        if problems:
            raise ValidationError(*problems)
        try:
            with open(params["ca_file"], "rb") as stream:
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
                "hosts_file", "kubeconfigs", "clusters", "backup", "timeout", "services", "services_port",
                "kubeconfig_services", "restart_services", "kubeconfigs_required",
            )
        },
    )  # fmt: skip


def configure(module: AnsibleModule, run: Run) -> Result:
    """Configure or verify one host."""
    spec = spec_of(module)
    state = module.params["state"]
    try:
        if state == "verified":
            result = verified(spec, run)
        else:
            result = (present if state == "present" else restarted)(spec, run, module.check_mode)
    except EndpointCheckError as error:
        names = [diff.name for diff in error.done]
        done = {"changed": bool(error.done), "changes": names, **diff_of(module, error.done)}
        module.fail_json(msg=str(error), failed_stage=error.stage, stages=error.evidence, **done)
        raise  # unreachable, fail_json does not return
    for warning in result.warnings:
        module.warn(warning)
    return {
        "changed": bool(result.diffs),
        "endpoint": with_port(spec.names[spec.api_name], spec.port),
        "changes": [diff.name for diff in result.diffs],
        "backups": result.backups,
        "missing_kubeconfigs": result.missing,
        "restarted": result.restarted,
        "to_restart": [unit for unit in result.outdated.restart if unit not in result.restarted],
        "outdated": result.outdated.others,
        **({"stages": result.evidence} if result.evidence else {}),
        **({"services": result.services} if state == "verified" else {}),
        **diff_of(module, result.diffs),
    }


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, run: Run) -> Result:
        if module.params["state"] != "absent":
            return configure(module, run)
        problems = path_problems("hosts_file", module.params["hosts_file"])
        if problems:
            raise ValidationError(*problems)
        diffs = absent(module.params["hosts_file"], run, module.check_mode)
        changes = [diff.name for diff in diffs]
        return {"changed": bool(diffs), "changes": changes, "backups": [], **diff_of(module, diffs)}

    run_module(
        ARGUMENTS,
        work,
        required_if=[("state", state, ("names", "api")) for state in ("present", "verified", "restarted")],
        mutually_exclusive=[("ca", "ca_file")],
    )


if __name__ == "__main__":
    main()
