# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields that a user adds to documents (``overlay_kubernetes_extra``). They add and never replace a value."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.documents import (
    LIST,
    MAP,
    NAMES,
    Arguments,
    Document,
    Fields,
    Omitted,
    Value,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.reasons import REASONS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.settings import ClusterValues
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

VARIABLE = "overlay_kubernetes_extra"


def add_extra(
    values: ClusterValues, documents: t.Sequence[Document], extra: t.Mapping[str, t.Any]
) -> tuple[list[Document], list[str]]:
    """Return the documents with the fields of a user, and why some of these cannot be added."""
    names = NAMES[values.distribution]
    problems = [
        f"{VARIABLE} has the unknown document {shown(name)}: the documents of {values.distribution} are "
        f"{', '.join(names)}"
        for name in extra
        if name not in names
    ]
    merged = []
    for document in documents:
        given = extra.get(document.name, {})
        if not isinstance(given, dict):
            problems.append(f"{VARIABLE} {document.name} is {shown(given)}: set a dictionary of fields")
            given = {}
        merger = _Merger(values, document.name)
        merged.append(document._replace(fields=merger.fields(document.fields, given, document.name)))
        problems += merger.problems
    return merged, problems


class _Merger:
    """Adds fields to one document, and collects the problems of them."""

    def __init__(self, values: ClusterValues, document: str) -> None:
        self.values = values
        self.document = document
        self.problems: list[str] = []

    def fields(self, present: Fields, given: t.Mapping[str, t.Any], path: str) -> Fields:
        """Return the present fields and the given ones."""
        found = dict(present)
        for name, value in given.items():
            where = f"{path}.{name}"
            old = present.get(name)
            if name in ("apiVersion", "kind") and path == self.document:
                self.problems.append(f"{VARIABLE} {where} is {shown(value)}: remove it, the document has it already")
            elif not _is_plain(value) or not _is_plain(name):
                self.problems.append(f"{VARIABLE} {where} {shown(value)} has characters that cannot be printed")
            elif isinstance(old, Arguments):
                found[name] = self._arguments(old, value, where)
            elif isinstance(old, dict) and isinstance(value, dict):
                found[name] = self.fields(old, value, where)
            elif isinstance(old, (Value, dict)):
                self._refuse(where, value, old)
            else:
                if isinstance(old, Omitted):
                    self.problems += _problems_of_pod_subnet(value, self.values, where)
                found[name] = self._new(value)
        return found

    def _new(self, value: t.Any) -> t.Any:
        if isinstance(value, dict) and value:
            return {name: self._new(each) for name, each in value.items()}
        return Value(value)

    def _arguments(self, present: Arguments, given: t.Any, where: str) -> Arguments:
        """Return the present flags and the given ones."""
        managed, added = dict(present.items), []
        for name, value in self._flags(present.style, given, where):
            if name in managed:
                self._refuse(f"{where} {name}", value, managed[name])
            else:
                added.append((name, Value(value)))
        return present._replace(items=[*present.items, *added])

    def _flags(self, style: str, given: t.Any, where: str) -> t.Iterator[tuple[str, str]]:
        """Yield name and value of each flag, as the document writes them."""
        expected = {LIST: "a list of {name: ..., value: ...}", MAP: "a dictionary"}.get(style, "a list of name=value")
        items = list(given.items()) if style == MAP and isinstance(given, dict) else given
        for item in items if isinstance(items, (list, tuple)) else [items]:
            if style == LIST and isinstance(item, dict) and set(item) == {"name", "value"}:
                yield str(item["name"]), _text(item["value"])
            elif style == MAP and isinstance(item, tuple):
                yield str(item[0]), _text(item[1])
            elif style not in (LIST, MAP) and isinstance(item, str) and "=" in item:
                name, _mark, value = item.partition("=")
                yield name, value
            else:
                self.problems.append(f"{VARIABLE} {where} {shown(item)}: set {expected}")

    def _refuse(self, where: str, value: t.Any, present: t.Any) -> None:
        if isinstance(present, Value):
            reason = REASONS[present.about]
            computed = f"the value is {shown(present.value)} ({reason.what.replace('`', '')})"
        else:
            computed = "it has fields"
        self.problems.append(f"{VARIABLE} {where} {shown(value)} replaces a value, but {computed}: remove it")


def _text(value: t.Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_plain(value: t.Any) -> bool:
    """Whether all texts in a value can stand in a YAML file as they are."""
    if isinstance(value, dict):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    if isinstance(value, (list, tuple)):
        return all(_is_plain(each) for each in value)
    return not isinstance(value, str) or value.replace("\n", "").replace("\t", "").isprintable()


def _problems_of_pod_subnet(given: t.Any, values: ClusterValues, where: str) -> t.Iterator[str]:
    """Yield why podSubnet cannot have this value."""
    services = ipaddress.IPv4Network(values.service_cidr)
    what = f"{VARIABLE} {where} {shown(given)}"
    try:
        networks = [ipaddress.ip_network(each.strip()) for each in str(given).split(",")]
    except ValueError:
        yield f"{what} is not a network: remove it"
        return
    if any(network.version == 6 for network in networks):
        yield f"{what} has an IPv6 network, and serviceSubnet {services} is IPv4 only: Pods are IPv4 only; remove it"
    for network in networks:
        if network.version == 4 and network.overlaps(services):
            yield (
                f"{what} overlaps serviceSubnet {services} (the Service range), and kubeadm refuses that: remove it, "
                f"as the overlay does not need it"
            )
