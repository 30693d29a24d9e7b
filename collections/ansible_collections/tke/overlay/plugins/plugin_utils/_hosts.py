# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the inventory's variables and the module results of all hosts, for plugins that process all hosts at once."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import NODE_VARIABLE, NodeHost
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import pair
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.inventory import warnings_of_groups
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import KINDS, InventoryNode
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    VariableSurvey,
    problems_of_balanced_host,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils import _variables
from ansible_collections.tke.overlay.plugins.plugin_utils._host_variables import plain, variables_of

Variables = t.Mapping[str, t.Any]

LEDGER_NAME = "overlay-ledger.json"
"""The file name of the ledger when ``overlay_ledger`` is not set; it is in the directory of the inventory."""

HOST_VARIABLES = {
    "underlay_ip": "overlay_underlay_ip",
    "underlay_mtu": "overlay_underlay_mtu",
    "node_cidr": "overlay_node_cidr",
    "site": "overlay_site",
    "wireguard_endpoint": "overlay_wireguard_endpoint",
}
DEFAULT_UNDERLAY_MTU = 1500

WAITS_FOR = "waits_for"
"""What the role node adds to the result of a host that waits with its change: the hosts for which it waits."""

PLAN_VARIABLES = tuple(
    f"overlay_{name}"
    for name in (
        *("cluster", "container_cidr", "max_pods_per_node", "max_services", "networks", "reserved", "clb_subnet"),
        *("require_idc", "device", "vni", "port", "bridge", "ledger", "adopt", "links", "wireguard_port"),
    )
)
"""The variables that role plan passes to the planner; they must be the same for every host."""


KUBERNETES_VARIABLES = tuple(
    f"overlay_{name}" for name in ("kubeconfig", "kubeconfig_context", "api_service", "kubernetes_update")
)
"""The variables of role kubernetes, which runs once; they must be the same for every host."""


class OneValue:
    """Checks variables of which a run uses the first host's value."""

    def __init__(self, variables: t.Iterable[str]) -> None:
        # variable -> value as JSON -> a host that has it
        self._found: dict[str, dict[str, str]] = {variable: {} for variable in variables}

    def note(self, host: str, variables: Variables, besides: t.Container[str] = ()) -> None:
        """Record the variables of one host. Errors of templates are passed on.

        :param besides: variables that cannot be evaluated.
        """
        # Among the defaults of the role, only that of the ledger depends on the host.
        default = {"overlay_ledger": f"{variables.get('inventory_dir')}/{LEDGER_NAME}"}
        for variable, texts in self._found.items():
            if variable in besides:
                continue
            value = variables.get(variable, default.get(variable))
            texts.setdefault(json.dumps(value, sort_keys=True, default=str), host)

    def problems(self, place: str, among: str = "") -> t.Iterator[str]:
        """Yield a problem for each variable with several values.

        :param place: the file that the remedy names.
        :param among: the hosts that were compared, when these are not only the nodes.
        """
        for variable, found in self._found.items():
            if len(found) > 1:
                each = ", ".join(f"{'not set' if text == 'null' else text} for {host}" for text, host in found.items())
                rule = f"{variable} must be the same for the whole cluster{among}"
                yield f"{rule}, but it is {each}: set it in one place, for instance in {place}"


class Inventory(t.NamedTuple):
    """The nodes of the inventory, and what is wrong with the variables, names and groups of all hosts."""

    nodes: list[InventoryNode]
    survey: VariableSurvey
    problems: list[str]
    warnings: t.Sequence[str] = ()


def read_inventory(group: str, task_vars: Variables) -> Inventory:
    """Return the hosts of the group, in the order of the inventory. Each host's variables are read once.

    :raises ValidationError: the group is empty.
    """
    groups, hostvars = task_vars["groups"], task_vars["hostvars"]
    if not groups.get(group):
        raise ValidationError(
            f"inventory group {group!r} has no hosts: put the nodes into its children 'cloud' and 'idc'"
        )
    members = {kind: set(groups.get(kind, [])) for kind in KINDS}
    survey, values = (
        VariableSurvey(_variables.specs(), _variables.known_names()),
        OneValue((*PLAN_VARIABLES, *KUBERNETES_VARIABLES)),
    )
    nodes = []
    for name in groups[group]:
        variables = _variables.HostVariables(hostvars, name)
        _variables.survey_host(survey, name, variables)
        kinds = [kind for kind in KINDS if name in members[kind]]
        nodes.append(InventoryNode(name=name, kinds=kinds, **_of_node(name, survey, variables)))
        values.note(name, variables.mapping, survey.failed)
    problems = _variables.problems_of_names(group, groups)
    balanced = _has_pair(variables_of(hostvars, nodes[0].name))
    known = {node.name for node in nodes}
    for site, name in [(each, name) for each in ("clb", "apiserver") for name in groups.get(each, [])]:
        variables = _variables.HostVariables(hostvars, name)
        if name not in known:
            known.add(name)
            _variables.survey_host(survey, name, variables)
        node = InventoryNode(name, **_of_node(name, survey, variables))
        if balanced and node.underlay_from:
            problems += problems_of_balanced_host(name, site, node.underlay_ip)
    problems += [*survey.problems(groups), *_problems_of_balancer(groups, hostvars, nodes[0].name, survey)]
    problems += values.problems("the group_vars of overlay_nodes")
    return Inventory(nodes, survey, problems, warnings_of_groups(groups, group))


def _problems_of_balancer(
    groups: t.Mapping[str, t.Sequence[str]], hostvars: t.Any, node: str, survey: VariableSurvey
) -> list[str]:
    """Return the conflicts between variables of the load balancer, if each of them is valid by itself.

    A listener concerns only the pair; all others are the same for the nodes and the pair.
    """
    of_node, of_pair = (variables_of(hostvars, name) for name in (node, (groups.get("clb") or [node])[0]))
    has_balancer = survey.given.intersection(("overlay_clb_subnet", "overlay_clb_provider"))
    if not has_balancer or survey.invalid.intersection(("overlay_clb_subnet", *pair.VARIABLES)):
        return []
    if of_node.get("overlay_clb_subnet") is None and of_node.get("overlay_clb_provider", "pair") == "pair":
        return []
    values = {name: of_node.get(name) for name in pair.VARIABLES}
    values["overlay_clb_listeners"] = of_pair.get("overlay_clb_listeners")
    return pair.problems_of_balancer(plain(values), groups.get("apiserver", []))


def _has_pair(variables: Variables) -> bool:
    """Whether a node has a private load balancer of two hosts."""
    with contextlib.suppress(Exception):  # what cannot be evaluated is reported elsewhere
        return (
            variables.get("overlay_clb_subnet") is not None and variables.get("overlay_clb_provider", "pair") == "pair"
        )
    return False


def _of_node(name: str, survey: VariableSurvey, variables: _variables.HostVariables) -> dict[str, t.Any]:
    values = {field: _variables.evaluated(survey, variables, name) for field, name in HOST_VARIABLES.items()}
    source = HOST_VARIABLES["underlay_ip"]
    if values["underlay_ip"] is None:
        source = "ansible_host"
        values["underlay_ip"] = _variables.evaluated(survey, variables, source)
    if values["underlay_ip"] is None:
        source, values["underlay_ip"] = "inventory_hostname", name
    if values["underlay_ip"] is _variables.FAILED:
        source = ""
    known = {field: None if value is _variables.FAILED else value for field, value in values.items()}
    if known["underlay_mtu"] is None:
        known["underlay_mtu"] = DEFAULT_UNDERLAY_MTU
    return {**known, "underlay_from": source}


def node_host(name: str, underlay: str, hostvars: t.Any) -> NodeHost:
    """Return a node, also one that is not in the inventory, and what its variables say about its Node object."""
    given = variables_of(hostvars, name).get(NODE_VARIABLE) if name in hostvars else None
    return NodeHost(name, underlay, None if given is None else str(given))  # a name of digits can be a number


def _underlay_address(name: str, variables: Variables) -> t.Any:
    given = variables.get(HOST_VARIABLES["underlay_ip"])
    return variables.get("ansible_host", name) if given is None else given


# What a host prints when a module cannot start or end -> the remedy.
_REMEDIES = (
    (
        r"you must have a tty to run sudo",
        "remove 'requiretty' for this user from /etc/sudoers, or set ansible_pipelining to false",
    ),
    (
        r"(?i)(missing|incorrect) (sudo|become|su|doas) password|a (terminal|password) is required",
        "give the password with --ask-become-pass, or allow the user NOPASSWD in /etc/sudoers",
    ),
    (r"not in the sudoers file|not allowed to execute", "allow this user to become root in /etc/sudoers"),
    (r"\bsudo: ((command )?not found|No such file)", "install sudo on the host, or connect as root"),
    (
        r"python\S*: ((command )?not found|No such file|cannot execute)|interpreter \S+ was not found",
        "install python3 on the host, or set ansible_python_interpreter to its path there",
    ),
    (r"No space left on device", "free space and inodes on the host (df, df -i)"),
    (r"Read-only file system", "mount it read-write"),
    (r"future feature annotations is not defined", "set ansible_python_interpreter to Python 3.9 or later"),
)
_NOISE = re.compile(r"(Shared )?[Cc]onnection to \S+ closed\.?$|Warning: Permanently added|OpenSSH_|debug\d:|\s*$")
_NO_REASON = re.compile(
    r"MODULE FAILURE|deserialization failed|See stdout/stderr|interpreter '\S+' was not found|failed to execute"
)


def failure_text(result: Variables) -> str:
    """Return why a task failed, with the remedy if it is known.

    If a module could not run at all, the reason is not in Ansible's message, but in what the host printed, between
    what its profile and SSH print.
    """
    message = str(result.get("msg") or "").strip()
    printed = [
        line.strip()
        for key in ("module_stderr", "module_stdout")
        for line in str(result.get(key) or "").splitlines()
        if not _NOISE.match(line)
    ]
    known = [(line, remedy) for line in [*printed, message] for words, remedy in _REMEDIES if re.search(words, line)]
    if printed and (not message or _NO_REASON.search(message)):
        message = known[0][0] if known else printed[-1]
    elif not message:
        message = "the module failed without a message"
    remedy = next((remedy for line, remedy in known if line == message), "")
    return f"{message}: {remedy}" if remedy else message


def failure_of(result: Variables, key: str) -> str:
    """Return the error of a module whose result lacks this key; empty when it did not run or was unreachable."""
    if not result or key in result or result.get("unreachable") or result.get("skipped"):
        return ""
    return failure_text(result)


def results_of(
    hosts: t.Iterable[str], hostvars: Variables, names: t.Collection[str]
) -> dict[str, dict[str, Variables]]:
    """Return registered results, by name and host; an empty one for a host without it.

    The variables of a host are gathered once, because that takes longer than all else here. Results are data, so they
    are not evaluated: of a result that a task registered once for all hosts, that would visit each leaf for each host.
    """
    read = getattr(hostvars, "raw_get", hostvars.__getitem__)
    found: dict[str, dict[str, Variables]] = {name: {} for name in names}
    for host in hosts:
        variables = read(host) if host in hostvars else {}  # a node of the ledger may have left the inventory
        for name, results in found.items():
            results[host] = variables.get(name) or {}
    return found


def registered(hosts: t.Iterable[str], hostvars: Variables, name: str, key: str) -> dict[str, t.Any]:
    """Return, by host, one key of a registered result; hosts without it, or with an empty value, are left out.

    An unreachable host has no result, whatever Ansible has registered for it.
    """
    values = {host: result.get(key) for host, result in _reached(hosts, hostvars, name).items()}
    return {host: value for host, value in values.items() if value}


def succeeded(hosts: t.Iterable[str], hostvars: Variables, name: str) -> list[str]:
    """Return the hosts on which the registered task ran and succeeded."""
    against = ("failed", "skipped")
    return [
        host
        for host, result in _reached(hosts, hostvars, name).items()
        if result and not any(result.get(word) for word in against)
    ]


def converged(hosts: t.Iterable[str], hostvars: Variables, name: str) -> list[str]:
    """Return the hosts that have the plan, from the results of module node.

    A host that waits for others (role node) has succeeded, and still sends by its former plan.
    """
    found = succeeded(hosts, hostvars, name)
    waiting = registered(found, hostvars, name, WAITS_FOR)
    return [host for host in found if host not in waiting]


def _reached(hosts: t.Iterable[str], hostvars: Variables, name: str) -> dict[str, Variables]:
    found = results_of(hosts, hostvars, [name])[name]
    return {host: {} if result.get("unreachable") else result for host, result in found.items()}


def underlay_addresses(hosts: t.Iterable[str], hostvars: Variables, port: int | str | None = None) -> dict[str, str]:
    """Return, by host, its underlay address as the planner takes it.

    :param port: appended to each address, with an IPv6 address in brackets.
    """
    found = {host: str(_underlay_address(host, variables_of(hostvars, host))) for host in hosts}
    return found if port is None else {host: with_port(address, int(port)) for host, address in found.items()}
