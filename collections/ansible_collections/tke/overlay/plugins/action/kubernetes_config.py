# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module kubernetes_config; its documentation is in plugins/modules/kubernetes_config.py."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.vips import PAIR, PROVIDERS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes import settings
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.render import render
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import SECRETS
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._certificates import public_key_hashes, read_ca
from ansible_collections.tke.overlay.plugins.plugin_utils._host_variables import plain, variables_of
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import OneValue, read_inventory, underlay_addresses
from ansible_collections.tke.overlay.plugins.plugin_utils._kubernetes_files import ConfigFiles
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import LedgerAction

NODE_NAME, NODE_IP = "overlay_kubernetes_node", "overlay_kubernetes_node_ip"
PODS, EXTRA = "overlay_pods", "overlay_kubernetes_extra"

CLUSTER_VARIABLES = (
    *("overlay_kubernetes_distribution", "overlay_kubeadm_api", "overlay_kubernetes_dest", "overlay_kubernetes_dns"),
    *("overlay_kubernetes_max_pods", "overlay_kubernetes_cert_sans", "overlay_kubernetes_proxy_mode"),
    *("overlay_kubernetes_ca_hashes", "overlay_api_name", "overlay_api_port", "overlay_api_service", "overlay_api_ca"),
)
"""The variables that must be the same for nodes and API servers."""

UNMANAGED, VIP_SERVICE = "unmanaged", "vip"
"""What the Service ``kubernetes`` leads to: what the API servers write, or the VIP."""


class ActionModule(LedgerAction):
    """Writes the configuration of kubeadm, k3s or RKE2 for every host."""

    options: t.ClassVar[dict[str, t.Any]] = {
        "plan": {"type": "dict", "required": True},
        "vips": {"type": "dict", "default": {}},
        "provider": {"type": "str", "choices": list(PROVIDERS), "default": PAIR},
        "listeners": {"type": "list", "elements": "dict", "default": []},
        "distribution": {"type": "str", "choices": list(settings.DISTRIBUTIONS), "default": settings.KUBEADM},
        "kubeadm_api": {"type": "str", "choices": list(settings.API_VERSIONS), "default": settings.API_VERSIONS[0]},
        "dest": {"type": "path"},
        "api_name": {"type": "str"},
        "api_port": {"type": "int", "default": 6443},
        "api_service": {"type": "str", "choices": [UNMANAGED, VIP_SERVICE], "default": UNMANAGED},
        "api_ca": {"type": "str"},
        "max_pods": {"type": "int"},
        "dns": {"type": "str"},
        "cert_sans": {"type": "list", "elements": "str"},
        "proxy_mode": {"type": "str", "choices": list(settings.PROXY_MODES)},
        "token": {"type": "str", "no_log": True},
        "ca_hashes": {"type": "list", "elements": "str"},
        "certificate_key": {"type": "str", "no_log": True},
        "group": {"type": "str", "default": "overlay_nodes"},
        "server_group": {"type": "str", "default": "apiserver"},
    }
    variables: t.ClassVar[dict[str, str]] = {
        **{name: f"overlay_kubernetes_{name}" for name in options},
        **{name: f"overlay_{name}" for name in ("api_name", "api_port", "api_service", "api_ca", "kubeadm_api")},
        "provider": "overlay_clb_provider",
        "listeners": "overlay_clb_listeners",
        **{name: name for name in ("plan", "vips", "group", "server_group")},
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Compute the values, find what cannot work, and write the files."""
        inventory = read_inventory(given["group"], task_vars)
        problems = [*inventory.problems, *problems_of_differing(given, task_vars, inventory.survey.failed)]
        if problems:
            raise ValidationError(*problems)
        members = members_of(given, task_vars)
        values = self._values(given, members)
        texts = render(values, members)
        warnings = settings.warnings_of(values, members)
        result: dict[str, t.Any] = {"changed": False, "hosts": _roles(members), "values": _facts(values)}
        if given["dest"] is None:
            return {**result, "documents": texts, "warnings": warnings}
        files = ConfigFiles(given["dest"], texts, task_vars.get("ansible_inventory_sources") or ())
        result.update(dest=files.dest, files=list(files.texts), changed=bool(files.changed()))
        if self._task.diff and result["changed"]:
            result["diff"] = files.diff()
        former = files.former()
        if former:
            warnings.append(f"{', '.join(former)}: of hosts that are not in the inventory any more; delete them")
        if not self._task.check_mode:
            files.write()
        return {**result, "warnings": warnings}

    def _values(self, given: dict[str, t.Any], members: t.Sequence[settings.Member]) -> settings.ClusterValues:
        """Return the values of the cluster: those that the user gives, and the defaults of the others."""
        plan = given["plan"]
        service_cidr, usable = plan["service_cidr"], plan["capacity"]["usable_pods_per_node"]
        endpoint = endpoint_of(given, members)
        sans, secrets = given["cert_sans"], self._secrets(given)
        return settings.ClusterValues(
            distribution=given["distribution"],
            endpoint=endpoint,
            container_cidrs=plan["document"]["container_cidr"],
            service_cidr=service_cidr,
            usable_pods=usable,
            max_pods=settings.default_max_pods(usable) if given["max_pods"] is None else given["max_pods"],
            dns=settings.default_dns(service_cidr) if given["dns"] is None else given["dns"],
            cert_sans=settings.default_cert_sans(endpoint) if sans is None else sans,
            bridge=plan["document"]["bridge"],
            own_service=given["api_service"] == VIP_SERVICE,
            proxy_mode=given["proxy_mode"] or "",
            api_version=given["kubeadm_api"],
            secrets=secrets,
        )

    def _secrets(self, given: dict[str, t.Any]) -> settings.JoinSecrets:
        hashes = given["ca_hashes"] or []
        if not hashes and given["api_ca"] and given["distribution"] == settings.KUBEADM:
            pem = read_ca(given["api_ca"], lambda name: self._find_needle("files", name), self._loader)
            hashes = public_key_hashes(pem)
        return settings.JoinSecrets(given["token"] or "", hashes, given["certificate_key"] or "")


def problems_of_differing(
    given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any], failed: t.Container[str]
) -> list[str]:
    """Return the problems of variables that differ from host to host, although the cluster has one value.

    :param failed: variables that cannot be evaluated.
    """
    one_value, secrets = OneValue(CLUSTER_VARIABLES), {name: set[str]() for name in SECRETS if name not in failed}
    for host in _hosts(given, task_vars):
        variables = variables_of(task_vars["hostvars"], host)
        one_value.note(host, variables, failed)
        for name, values in secrets.items():
            values.add(str(variables.get(name)))
    return [
        *one_value.problems("group_vars/all", ", nodes and API servers"),
        *(
            f"{name} must be the same for the whole cluster, and hosts have different ones: set it in group_vars/all"
            for name, values in secrets.items()
            if len(values) > 1
        ),
    ]


def _hosts(given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]) -> list[str]:
    """Return the API servers and the nodes."""
    groups = task_vars["groups"]
    return list(dict.fromkeys([*groups.get(given["server_group"], []), *groups.get(given["group"], [])]))


def members_of(given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]) -> list[settings.Member]:
    """Return all hosts that become API servers or nodes, the first API server first."""
    groups, hostvars, hosts = task_vars["groups"], task_vars["hostvars"], _hosts(given, task_vars)
    servers, nodes = groups.get(given["server_group"], []), set(groups[given["group"]])
    underlay = underlay_addresses(hosts, hostvars)
    members = []
    for number, host in enumerate(hosts):
        variables = variables_of(hostvars, host)
        role = settings.NODE if host not in servers else settings.SERVER if number else settings.FIRST
        member = settings.Member(
            host=host,
            node=str(variables.get(NODE_NAME) or host),
            address=str(variables.get(NODE_IP) or underlay[host]),
            role=role,
            has_pods=host in nodes and boolean(variables.get(PODS, True)),
            extra=plain(variables.get(EXTRA) or {}),
        )
        members.append(member)
    return members


def endpoint_of(given: t.Mapping[str, t.Any], members: t.Sequence[settings.Member]) -> settings.Endpoint:
    """Return how clients reach the API servers. A single one without a load balancer is reached by its address."""
    vip, name = given["vips"].get("apiserver", ""), given["api_name"]
    servers = [member for member in members if member.role != settings.NODE]
    if name is None and vip:
        name = f"api.{given['plan']['document']['cluster']}.internal"
    elif name is None:
        name = str(servers[0].address) if len(servers) == 1 else ""
    ports = [int(each["port"]) for each in given["listeners"] if each.get("vip") == "apiserver"]
    return settings.Endpoint(name, given["api_port"], vip, ports if given["provider"] == PAIR else None)


def _roles(members: t.Sequence[settings.Member]) -> dict[str, str]:
    return {member.host: member.role for member in members}


def _facts(values: settings.ClusterValues) -> dict[str, t.Any]:
    """Return the values of the result, without secrets."""
    endpoint = values.endpoint
    return {
        "endpoint": f"{endpoint.name}:{endpoint.port}",
        "vip": endpoint.vip,
        "service_cidr": values.service_cidr,
        "container_cidr": list(values.container_cidrs),
        "dns": values.dns,
        "max_pods": values.max_pods,
        "cert_sans": list(values.cert_sans),
    }
