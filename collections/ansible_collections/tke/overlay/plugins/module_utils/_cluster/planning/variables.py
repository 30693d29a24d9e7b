# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of all hosts, before the planner uses any: types, ranges, grammar, unknown names.

An error names the variable as the user wrote it, its value, the hosts that have it
(unless all hosts have it) and the remedy. Types come from the ``argument_specs`` of
the roles; what they cannot express is in :data:`RANGES` and :data:`RULES`.
"""

from __future__ import annotations

import difflib
import json
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    MIN_MTU,
    is_endpoint,
    is_ipv4_address,
    is_server,
    network_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._balancer import (
    SERVICES,
    ProxiedService,
    problems_of_backends,
    problems_of_listeners,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import (
    NodeHost,
    problems_of_node_name,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import NOT_ONE_LINE
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems, some_of
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    LABEL,
    LABEL_RULE,
    is_host_name,
    is_one_line,
    path_problems,
    shown,
)

MOST_HOSTS = 5
"""Hosts that a message names."""

RANGES = {
    "overlay_vni": (1, (1 << 24) - 1, ""),
    "overlay_port": (1, 65535, ""),
    "overlay_wireguard_port": (1, 65_534, ""),
    "overlay_restore_interval": (1, 86_400, "seconds"),
    "overlay_confirm_timeout": (0, 3600, "seconds"),
    "overlay_probe_interval": (10, 3600, "seconds"),
    "overlay_api_port": (1, 65535, ""),
    "overlay_api_timeout": (0, 3600, "seconds"),
    "overlay_clb_metrics_port": (1, 65535, ""),
    "overlay_clb_vrid": (1, 254, ""),
    "overlay_verify_all": (0, 1_000_000, ""),
    "overlay_verify_sample": (0, 1_000_000, ""),
    "overlay_verify_answer": (0, 86_400, "seconds"),
    "overlay_conformance_per_site": (1, 1000, ""),
    "overlay_conformance_seconds": (10, 86_400, "seconds"),
    "overlay_report_history": (0, 1_000_000, ""),
    "overlay_kubernetes_max_pods": (1, 65_533, ""),
}
"""Variable -> the least and the largest number, and its unit."""

NULLABLE = (
    *("overlay_clb_subnet", "overlay_underlay_ip", "overlay_underlay_mtu", "overlay_node_cidr"),
    *("overlay_kubeconfig", "overlay_kubernetes_node", "overlay_site", "overlay_links"),
)
"""Variables for which null means the same as not set, so that a group or host can unset them."""

OF_PLANNER = ("overlay_underlay_ip", "overlay_underlay_mtu", "overlay_node_cidr")
"""Variables of one host that the planner checks itself, together with those of other hosts."""


class VariableSpec(t.NamedTuple):
    """What a variable can be, as in ``argument_specs``. ``options`` are the keys of a dictionary, or of each item."""

    type: str = "str"
    elements: str = ""
    choices: t.Sequence[str] = ()
    options: t.Mapping[str, VariableSpec] = {}
    required: bool = False


PLAYBOOK_VARIABLES = {
    "overlay_verify_all": VariableSpec("int"),
    "overlay_verify_sample": VariableSpec("int"),
    "overlay_verify_answer": VariableSpec("int"),
    "overlay_conformance_nodes": VariableSpec("list", "str"),
    "overlay_conformance_per_site": VariableSpec("int"),
    "overlay_conformance_seconds": VariableSpec("int"),
    "overlay_conformance_paths": VariableSpec("list", "str"),
    "overlay_conformance_services": VariableSpec("list", "str"),
    "overlay_conformance_dns": VariableSpec("str"),
    "overlay_conformance_dns_names": VariableSpec("list", "str"),
    "overlay_conformance_outside": VariableSpec("list", "str"),
    "overlay_report_dest": VariableSpec("path"),
    "overlay_report_title": VariableSpec("str"),
    "overlay_report_history": VariableSpec("int"),
    "overlay_controller_metrics_dir": VariableSpec("path"),
    "overlay_prometheus_url": VariableSpec("str"),
    "overlay_ledger_to": VariableSpec("str"),
    "overlay_ledger_from": VariableSpec("str"),
    "overlay_rollout_first": VariableSpec("str"),
    "overlay_max_fail_percentage": VariableSpec("raw"),
    "overlay_release": VariableSpec("list", "str"),
    "overlay_release_confirmed": VariableSpec("bool"),
    "overlay_clb_release_confirmed": VariableSpec("bool"),
    "overlay_rebuild_without": VariableSpec("list", "str"),
    "overlay_reset": VariableSpec("raw"),
    "overlay_reset_confirmed": VariableSpec("bool"),
    "overlay_serial": VariableSpec("raw"),
    "overlay_kubeadm_api": VariableSpec("str", choices=("v1beta4", "v1beta3")),
    "overlay_kubernetes_distribution": VariableSpec("str", choices=("kubeadm", "k3s", "rke2")),
    "overlay_kubernetes_dest": VariableSpec("path"),
    "overlay_kubernetes_max_pods": VariableSpec("int"),
    "overlay_kubernetes_dns": VariableSpec("str"),
    "overlay_kubernetes_cert_sans": VariableSpec("list", "str"),
    "overlay_kubernetes_proxy_mode": VariableSpec("str", choices=("iptables", "nftables")),
    "overlay_kubernetes_token": VariableSpec("str"),
    "overlay_kubernetes_ca_hashes": VariableSpec("list", "str"),
    "overlay_kubernetes_certificate_key": VariableSpec("str"),
    "overlay_kubernetes_extra": VariableSpec("dict"),
    "overlay_kubernetes_node_ip": VariableSpec("str"),
}
"""The variables of single playbooks, which no role describes."""


SECRETS = ("overlay_kubernetes_token", "overlay_kubernetes_certificate_key")
"""Variables whose value no message shows."""

NAMES_OF_NODES = ("overlay_release", "overlay_leaving")
"""Lists of nodes. An empty name is left to the planner, which knows how it gets into a list on a command line."""


def spec_of(option: t.Mapping[str, t.Any]) -> VariableSpec:
    """Return the specification of an option of ``argument_specs``."""
    return VariableSpec(
        type=option.get("type", "str"),
        elements=option.get("elements", ""),
        choices=tuple(option.get("choices", ())),
        options={name: spec_of(each) for name, each in (option.get("options") or {}).items()},
        required=option.get("required", False),
    )


# --- one value ------------------------------------------------------------------------------------


def problems_of_variable(name: str, value: t.Any, spec: VariableSpec) -> list[str]:
    """Return every problem of the value of a variable."""
    if value is None and name in NULLABLE:
        return []
    if name in NAMES_OF_NODES and isinstance(value, (str, list, tuple)):
        value = [each for each in _as_given(value, spec) if each != ""] or value
    problems = problems_of_value(name, value, spec)
    least, most, unit = RANGES.get(name, (0, 0, ""))
    if problems and name in SECRETS:
        return [f"{name} is not one line of text: give it one, in quotes, or remove the line"]
    if problems and most and value is not None:
        return [f"{problem}: set a number from {least} to {most}{unit and f' {unit}'}" for problem in problems]
    if problems:
        return problems
    if name in RULES:
        return RULES[name](name, _as_given(value, spec))
    return range_problems(name, int(value), least, most, unit) if most else []


def problems_of_value(what: str, value: t.Any, spec: VariableSpec) -> list[str]:
    """Return the problems of the type of a value. Texts that Ansible converts to the type are accepted.

    :param what: the variable or option, as the user wrote it.
    """
    if value is None:
        return [f"{what} has no value: give it one, or remove the line"]
    if spec.type == "list":
        return _problems_of_list(what, value, spec)
    if spec.type == "dict":
        return _problems_of_dict(what, value, spec)
    wrong = _SCALARS.get(spec.type, _is_anything)(value)
    if wrong:
        return [f"{what} {shown(value)} {wrong}"]
    if spec.choices and value not in spec.choices:
        return [f"{what} {shown(value)} is unknown: set {' or '.join(spec.choices)}"]
    return []


def _is_anything(_value: t.Any) -> str:
    return ""


def _why_no_text(value: t.Any) -> str:
    if isinstance(value, bool):
        return "is a boolean, as YAML reads yes, no, on, off, true and false: put the text in quotes"
    if isinstance(value, float):
        return "is a number with a fraction, of which YAML drops zeros: put the text in quotes"
    if not isinstance(value, (str, int)):
        return f"is {_kind_of(value)}: set one text"
    if value == "":
        return "is empty: give it a value, or remove the line"
    return "" if is_one_line(str(value)) else NOT_ONE_LINE


def _why_no_number(value: t.Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    whole = whole or (isinstance(value, float) and value.is_integer())
    if whole or (isinstance(value, str) and re.fullmatch(r" *[+-]?[0-9]+ *", value)):
        return ""
    return "is not a whole number in decimal digits"


def _why_no_boolean(value: t.Any) -> str:
    words = ("yes", "no", "on", "off", "true", "false", "1", "0", "y", "n", "t", "f")
    if isinstance(value, (bool, int, str)) and str(value).strip().lower() in words:
        return ""
    return "is not a boolean: set true or false"


_SCALARS: dict[str, t.Callable[[t.Any], str]] = {
    "str": _why_no_text,
    "path": _why_no_text,
    "int": _why_no_number,
    "bool": _why_no_boolean,
}
"""Type -> the function that returns why a value is not of that type; empty if it is."""


def _kind_of(value: t.Any) -> str:
    kinds = ((dict, "a dictionary"), ((list, tuple), "a list"), (bool, "a boolean"), (str, "a text"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "a number")


def _problems_of_list(what: str, value: t.Any, spec: VariableSpec) -> list[str]:
    if isinstance(value, dict) or (spec.elements == "dict" and not isinstance(value, (list, tuple))):
        return [f"{what} {shown(value)} is {_kind_of(value)}: set a list{_list_of(spec)}"]
    item = VariableSpec(spec.elements or "raw", options=spec.options)
    return [
        problem
        for number, each in enumerate(_as_given(value, spec), 1)
        for problem in problems_of_value(f"{what}: item {number},", each, item)
    ]


def _list_of(spec: VariableSpec) -> str:
    return f" of dictionaries with {', '.join(spec.options)}" if spec.options else ""


def _problems_of_dict(what: str, value: t.Any, spec: VariableSpec) -> list[str]:
    given = _as_given(value, spec)
    if not isinstance(given, dict):
        return [f"{what} {shown(value)} is {_kind_of(value)}: set a dictionary"]
    problems = [
        f"{what} has the unknown key {shown(key)}: the keys are {', '.join(spec.options)}"
        for key in given
        if spec.options and key not in spec.options
    ]
    problems += [
        f"{what} has the key {shown(key)}: set a name on one line"
        for key in given
        if not spec.options and not is_one_line(str(key))
    ]
    for key, option in spec.options.items():
        if given.get(key) not in (None, ""):
            problems += problems_of_value(f"{what} {key}", given[key], option)
        elif option.required:
            problems.append(f"{what} {shown(value)} lacks {key}")
    return problems


def _as_given(value: t.Any, spec: VariableSpec) -> t.Any:
    """Return what Ansible makes of a text, or of a number, where a list or a dictionary is wanted."""
    if spec.type == "list" and not isinstance(value, (list, tuple)):
        return [each.strip() for each in value.split(",")] if isinstance(value, str) else [value]
    if spec.type == "dict" and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


# --- grammar --------------------------------------------------------------------------------------


def _api_name(what: str, name: t.Any) -> list[str]:
    text = str(name)
    return (
        []
        if is_host_name(text) and text == text.lower()
        else [f"{what} {shown(name)} is not a host name in lower case"]
    )


def _services(what: str, services: t.Any) -> list[str]:
    names = [str(service["name"]) for service in services]
    problems = [f"{what}: {shown(name)} is not a host name in lower case" for name in names if _api_name("", name)]
    problems += [f"{what}: {shown(name)} is listed twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    return problems + [
        problem
        for service in proxied(services)
        for problem in problems_of_backends(f"{what}: {shown(service.name)}", service.backends)
    ]


def _listeners(_what: str, listeners: t.Any) -> list[str]:
    return list(problems_of_listeners(proxied(listeners)))


def proxied(items: t.Any) -> list[ProxiedService]:
    """Return the items of overlay_clb_services or overlay_clb_listeners, whose types are right."""
    spec = VariableSpec("list", "str")
    return [
        ProxiedService(
            name=str(item["name"]),
            backends=[str(each) for each in _as_given(item["backends"], spec)],
            vip=str(item.get("vip") or SERVICES),
            port=int(item.get("port") or 0),
        )
        for item in items
    ]


def _paths(what: str, paths: t.Any) -> list[str]:
    return [problem for path in paths for problem in path_problems(f"{what}:", str(path))]


def _metrics_dir(what: str, path: t.Any) -> list[str]:
    return path_problems(what, str(path)) if path else []


def _node_name(what: str, name: t.Any) -> list[str]:
    return problems_of_node_name(NodeHost("", node=str(name)), what)


def _ipv4_address(what: str, address: t.Any) -> list[str]:
    return [] if is_ipv4_address(str(address)) else [f"{what} {shown(address)} is not an IPv4 address"]


def _ipv4_network(what: str, network: t.Any) -> list[str]:
    if ":" in str(network):
        return [f"{what} {shown(network)} is not an IPv4 network"]
    return network_problems(what, str(network))


def _site(what: str, name: t.Any) -> list[str]:
    return [] if LABEL.fullmatch(str(name)) else [f"{what} {shown(name)} is not a name of a site: {LABEL_RULE}"]


def _links(what: str, items: t.Any) -> list[str]:
    problems: list[str] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, item in enumerate(items, 1):
        where = f"{what}: item {number}"
        sites = [str(site) for site in _as_given(item["sites"], VariableSpec("list", "str"))]
        problems += [problem for site in sites for problem in _site(f"{where}: sites", site)]
        if len(sites) not in (1, 2):
            problems.append(f"{where} has {len(sites)} sites: a link has two, or one for the nodes inside it")
        elif seen.setdefault(tuple(sorted({*sites})), number) != number:
            first = seen[tuple(sorted({*sites}))]
            problems.append(f"{where} lists the sites {' and '.join(sites)} again, as item {first} does: remove one")
        if item.get("mtu") not in (None, ""):
            problems += range_problems(f"{where}: mtu", int(item["mtu"]), min(MIN_MTU.values()), 65535, "bytes")
    return problems


def _wireguard_endpoint(what: str, endpoint: t.Any) -> list[str]:
    text = str(endpoint)
    if text == "none" or (is_endpoint(text) and int(text.rpartition(":")[2]) < 65535):
        return []
    examples = "203.0.113.7:51820 or [2001:db8::7]:51820"
    rule = f"is not ADDRESS:PORT with a port up to 65534, such as {examples}, and not none, which means behind NAT"
    return [f"{what} {shown(endpoint)} {rule}"]


def _confirm_timeout(what: str, seconds: t.Any) -> list[str]:
    return [] if int(seconds) == 0 else range_problems(what, int(seconds), 3, 3600, "seconds (or 0)")


def _serial(what: str, sizes: t.Any) -> list[str]:
    """Return the problems of the sizes of batches. Ansible evaluates them after the ledger is written."""
    listed = sizes if isinstance(sizes, (list, tuple)) else [sizes]
    valid = all(not isinstance(size, (bool, float)) and _BATCH.fullmatch(str(size)) for size in listed)
    if listed and valid:
        return []
    rule = "is not a number of hosts from 1, a percentage from 1% to 100%, or a list of these"
    return [f'{what} {shown(sizes)} {rule}, as in -e \'{{"{what}": [1, "20%"]}}\'']


_BATCH = re.compile(r"0*[1-9][0-9]*|0*([1-9][0-9]?|100)%")


def _percentage(what: str, share: t.Any) -> list[str]:
    try:
        number = float("nan" if isinstance(share, bool) else share)
    except (TypeError, ValueError):
        number = float("nan")
    return [] if 0 <= number <= 100 else [f"{what} {shown(share)} is not a number from 0 to 100"]


def _path(what: str, path: t.Any) -> list[str]:
    return path_problems(what, str(path))


def _prometheus_url(what: str, url: t.Any) -> list[str]:
    host = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    if re.fullmatch(rf"https?://{host}(:[0-9]{{1,5}})?(/[A-Za-z0-9._~/-]*)?", str(url)):
        return []
    if "@" in str(url):  # a password is not repeated
        return [f"{what} has a user or a password, which the report does not use: set http://host:9090"]
    return [f"{what} {shown(url)} is not the address of a Prometheus: set http://host:9090 or https://host/path"]


RULES: dict[str, t.Callable[[str, t.Any], list[str]]] = {
    "overlay_api_name": _api_name,
    "overlay_clb_gateway": _ipv4_address,
    "overlay_clb_listeners": _listeners,
    "overlay_clb_route_via": _ipv4_address,
    "overlay_clb_services": _services,
    "overlay_clb_subnet": _ipv4_network,
    "overlay_confirm_timeout": _confirm_timeout,
    "overlay_controller_metrics_dir": _path,
    "overlay_kubeconfigs": _paths,
    "overlay_metrics_dir": _metrics_dir,
    "overlay_kubernetes_node": _node_name,
    "overlay_max_fail_percentage": _percentage,
    "overlay_serial": _serial,
    "overlay_prometheus_url": _prometheus_url,
    "overlay_links": _links,
    "overlay_site": _site,
    "overlay_wireguard_endpoint": _wireguard_endpoint,
}
"""Variable -> the function that returns the problems of its value, which has the right type."""


def problems_of_api_name(cluster: str, given: t.Container[str]) -> list[str]:
    """Return a problem if the default name of the API server is needed, and the name of the cluster gives none.

    :param given: the variables that a host has.
    """
    name = f"api.{cluster}.internal"
    balanced = "overlay_clb_subnet" in given or "overlay_clb_provider" in given
    has_endpoint = balanced and ("overlay_api_ca" in given or "overlay_kubeconfigs" in given)
    if not has_endpoint or "overlay_api_name" in given or not _api_name("", name):
        return []
    where = f"overlay_cluster {shown(cluster)} gives the API server the name {shown(name)}"
    return [f"{where}, which is not a host name in lower case: set overlay_api_name"]


def problems_of_route(given: t.Container[str]) -> list[str]:
    """Return a problem if a gateway is set, and there is an external load balancer without the subnet behind it.

    :param given: the variables that a host has.
    """
    missing = "overlay_clb_provider" in given and "overlay_clb_subnet" not in given
    if not missing or "overlay_clb_route_via" not in given:
        return []
    return [
        "overlay_clb_route_via is the gateway to overlay_clb_subnet, which is not set: set it, or remove the gateway"
    ]


def problems_of_balanced_host(name: str, group: str, address: t.Any) -> list[str]:
    """Return the problem of the address of a host of the pair (group ``clb``) or of an API server."""
    is_valid = is_ipv4_address if group == "clb" else _is_host
    if isinstance(address, str) and is_valid(address):
        return []
    kind = "an IPv4 address" if group == "clb" else "a host name or an IPv4 address"
    return [f"host {name} (group {group}): the address {shown(address)} is not {kind}: set overlay_underlay_ip"]


def _is_host(text: str) -> bool:
    return is_server(f"{text}:1")


# --- all hosts ------------------------------------------------------------------------------------


class VariableSurvey:
    """Collects the variables of all hosts, and returns each problem once, with the hosts that have it."""

    def __init__(self, specs: t.Mapping[str, VariableSpec], known: t.Collection[str]) -> None:
        """Take the specifications by variable, and all names that the collection reads or defines."""
        self.specs = specs
        self.known = {*known, *specs}
        self.failed: set[str] = set()  # the variables that cannot be evaluated for a host
        self.invalid: set[str] = set()  # the same, and the variables with another problem
        self.given: set[str] = set()  # the variables that a host has, without empty lists
        self._hosts: list[str] = []
        self._problems: dict[str, list[str]] = {}  # problem -> hosts
        self._unknown: dict[str, list[str]] = {}  # unknown variable -> hosts
        self._checked: dict[tuple[str, str], list[str]] = {}

    def host(self, name: str) -> None:
        """Begin with the variables of a host."""
        self._hosts.append(name)

    def value(self, variable: str, value: t.Any) -> None:
        """Check one variable of the host."""
        if value != []:  # the same as not set
            self.given.add(variable)
        if variable in OF_PLANNER:
            return
        key = variable, repr(value)
        if key not in self._checked:
            self._checked[key] = problems_of_variable(variable, value, self.specs[variable])
        for problem in self._checked[key]:
            self._note(variable, problem)

    def failure(self, variable: str, reason: str, gathered: bool = False) -> None:
        """Note that a variable of the host cannot be evaluated.

        :param gathered: whether the value needs facts of the host.
        """
        self.given.add(variable)
        self.failed.add(variable)
        remedy = (
            "the playbooks of tke.overlay gather no facts, so set the value itself, or gather facts into a fact cache "
            "before"
            if gathered
            else "define what it refers to, or set the value itself"
        )
        self._note(variable, f"{variable} is set, but cannot be evaluated: {reason}: {remedy}")

    def unknown(self, variable: str) -> None:
        """Note a variable of the host that the collection does not know."""
        self._unknown.setdefault(variable, []).append(self._hosts[-1])

    def _note(self, variable: str, problem: str) -> None:
        self.invalid.add(variable)
        self._problems.setdefault(problem, []).append(self._hosts[-1])

    def problems(self, groups: t.Mapping[str, t.Sequence[str]]) -> list[str]:
        """Return the problems of all hosts.

        :param groups: see :meth:`warnings`.
        """
        return [f"{problem}{self._where(hosts, groups)}" for problem, hosts in self._problems.items()]

    def warnings(self, groups: t.Mapping[str, t.Sequence[str]]) -> list[str]:
        """Return one warning that lists all unknown variables, none without any.

        :param groups: the hosts by group. What concerns exactly the hosts of one group is shown with the group.
        """
        listed = [
            f"{name}{self._where(hosts, groups)}{self._hint(name)}" for name, hosts in sorted(self._unknown.items())
        ]
        if not listed:
            return []
        return [f"variables that tke.overlay does not know, and ignores: {'; '.join(listed)}"]

    def _hint(self, name: str) -> str:
        near = nearest(name, self.known)
        return f", did you mean {near}?" if near else ""

    def _where(self, hosts: t.Sequence[str], groups: t.Mapping[str, t.Sequence[str]]) -> str:
        if len(set(hosts)) == len(self._hosts):
            return ""
        for group, members in groups.items():
            if set(members) & set(self._hosts) == set(hosts):
                return f" (group {group})"
        return f" ({some_of([shown(host)[1:-1] for host in dict.fromkeys(hosts)], MOST_HOSTS)})"


def nearest(name: str, known: t.Iterable[str]) -> str | None:
    """Return the known name that the user may have meant, ``None`` if none is similar.

    A name that lacks words or underscores of the known one is nearer than one with other letters.
    """
    words, joined = set(name.split("_")), name.replace("_", "").lower()

    def likeness(other: str) -> tuple[float, float, str]:
        ratio = difflib.SequenceMatcher(None, name.partition("_")[2], other.partition("_")[2]).ratio()
        if other.replace("_", "") == joined:
            return 1.0, ratio, other
        return (max(ratio, LIKENESS_OF_PART) if words < set(other.split("_")) else ratio), ratio, other

    best = max(map(likeness, sorted(known)), default=(0.0, 0.0, ""))
    return best[2] if best[0] >= LEAST_LIKENESS else None


LIKENESS_OF_PART = 0.9
"""The likeness of a name that has all words of the user, and more."""

LEAST_LIKENESS = 0.6


def problem_of_missing(names: t.Sequence[str], group: str, place: str, files: str) -> str:
    """Return the problem of required variables that no host has.

    :param place: the directory of the inventory.
    :param files: what lies in its ``group_vars``, see :func:`describe_group_vars`.
    """
    what = " and ".join(names)
    found = f"where it finds {files}" if files else "where it finds none"
    return (
        f"{what} {'are' if len(names) > 1 else 'is'} not set for any host of group {group}: set "
        f"{'them' if len(names) > 1 else 'it'} in {place}/group_vars/all.yml (Ansible reads the directory group_vars "
        f"beside the inventory, {found})"
    )


def describe_group_vars(entries: t.Iterable[str], groups: t.Iterable[str]) -> list[str]:
    """Return the entries of a directory ``group_vars``, and of each that Ansible does not read the reason."""
    known, described = sorted({*groups, "all", "ungrouped"}), []
    for entry in sorted(entries):
        stem, dot, suffix = entry.rpartition(".")
        name = stem if dot and suffix in ("yml", "yaml", "json") else entry
        if name in known:
            described.append(entry)
            continue
        near = difflib.get_close_matches(name.replace("-", "_"), known, 1)
        described.append(f"{entry} is for no group of this inventory{f', did you mean {near[0]}?' if near else ''}")
    return described
