# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The objects of an API server, and its rules about them: versions, immutable fields, status apart from spec."""

from __future__ import annotations

import copy
import datetime
import ipaddress
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

MERGE_KEYS = {"conditions": "type", "addresses": "type", "taints": "key", "ports": "port"}
"""List of objects -> the key by which a strategic merge patch merges it."""

MERGED_SETS = ("podCIDRs", "finalizers")
"""List of texts that a strategic merge patch merges."""

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"(|[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)")


class Kind(NamedTuple):
    """A resource that the server has."""

    kind: str
    plural: str
    group: str = ""
    namespaced: bool = True
    has_status: bool = False

    @property
    def version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("Node", "nodes", namespaced=False, has_status=True),
        Kind("Namespace", "namespaces", namespaced=False, has_status=True),
        Kind("ConfigMap", "configmaps"),
        Kind("Endpoints", "endpoints"),
        Kind("Service", "services", has_status=True),
        Kind("EndpointSlice", "endpointslices", "discovery.k8s.io"),
    )
}

Key = tuple[str, str, str]
"""Plural, namespace and name of an object."""


class Failure(Exception):
    """The answer to a request that is not carried out: code and reason of a Status object, and its message."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Objects:
    """All objects. A change is one step: other requests see the object before or after it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.after_change: Callable[[Key], None] = lambda _key: None
        self._objects: dict[Key, Json] = {}
        self._version = 100

    def list(self, plural: str, namespace: str) -> list[Json]:
        with self.lock:
            return [
                copy.deepcopy(each)
                for key, each in sorted(self._objects.items())
                if key[0] == plural and (not namespace or key[1] == namespace)
            ]

    def get(self, key: Key) -> Json:
        with self.lock:
            if key not in self._objects:
                raise Failure(404, "NotFound", f'{_full(key[0])} "{key[2]}" not found')
            return copy.deepcopy(self._objects[key])

    def create(self, key: Key, body: Json) -> Json:
        with self.lock:
            if key in self._objects:
                raise Failure(409, "AlreadyExists", f'{_full(key[0])} "{key[2]}" already exists')
            if body.get("metadata", {}).get("resourceVersion"):
                raise Failure(400, "BadRequest", "resourceVersion should not be set on objects to be created")
            time = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            metadata = {**body.get("metadata", {}), "uid": str(uuid.uuid4()), "creationTimestamp": time}
            return self._store(key, None, {**body, "metadata": metadata})

    def replace(self, key: Key, body: Json, subresource: str = "") -> Json:
        with self.lock:
            old = self.get(key)
            wanted = body.get("metadata", {}).get("resourceVersion")
            if wanted and wanted != old["metadata"]["resourceVersion"]:
                message = "the object has been modified; please apply your changes to the latest version and try again"
                raise Failure(
                    409, "Conflict", f'Operation cannot be fulfilled on {_full(key[0])} "{key[2]}": {message}'
                )
            new = copy.deepcopy(body)
            if subresource == "status":
                new["spec"] = old.get("spec", {})
            elif KINDS[key[0]].has_status:
                new["status"] = old.get("status", {})
            kept = {name: old["metadata"][name] for name in ("uid", "creationTimestamp", "name")}
            new["metadata"] = {**new.get("metadata", {}), **kept}
            return self._store(key, old, new)

    def patch(self, key: Key, body: Json, content_type: str, subresource: str = "") -> Json:
        if content_type not in (MERGE, STRATEGIC):
            raise Failure(
                415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}"
            )
        with self.lock:
            old = self.get(key)
            old["metadata"].pop("resourceVersion")  # that of the body, if it has one, is the precondition
            return self.replace(key, _merged(old, body, strategic=content_type == STRATEGIC), subresource)

    def delete(self, key: Key) -> Json:
        with self.lock:
            found = self.get(key)
            del self._objects[key]
            return found

    def touch(self, key: Key) -> None:
        """Give an object another version, as after a heartbeat of kubelet."""
        with self.lock:
            self._version += 1
            self._objects[key]["metadata"]["resourceVersion"] = str(self._version)

    def _store(self, key: Key, old: Json | None, new: Json) -> Json:
        kind = KINDS[key[0]]
        if new.get("kind", kind.kind) != kind.kind or new.get("apiVersion", kind.version) != kind.version:
            raise Failure(400, "BadRequest", f"{new.get('apiVersion')} {new.get('kind')} is no {kind.kind}")
        if kind.plural == "nodes":
            _default_pod_cidrs(new)
        problems = list(_problems(kind, key, old, new))
        if problems:
            raise Failure(422, "Invalid", f'{kind.kind} "{key[2]}" is invalid: {", ".join(problems)}')
        new = {"kind": kind.kind, "apiVersion": kind.version, **new}
        new["metadata"].pop("resourceVersion", None)
        if old is not None and _without_version(old) == _without_version(new):
            return old  # a request without a change makes no new version
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = new
        self.after_change(key)
        return copy.deepcopy(new)


def _without_version(found: Json) -> str:
    metadata = {name: value for name, value in found["metadata"].items() if name != "resourceVersion"}
    return json.dumps({**found, "metadata": metadata}, sort_keys=True)


def _full(plural: str) -> str:
    return f"{plural}.{KINDS[plural].group}" if KINDS[plural].group else plural


def _merged(old: Any, patch: Any, strategic: bool, name: str = "") -> Any:
    if isinstance(patch, dict):
        result = dict(old) if isinstance(old, dict) else {}
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = _merged(result.get(key), value, strategic, key)
        return result
    if strategic and isinstance(old, list) and isinstance(patch, list):
        if name in MERGED_SETS:
            return list(dict.fromkeys([*old, *patch]))
        if name in MERGE_KEYS:
            by_key = {each[MERGE_KEYS[name]]: each for each in old}
            for each in patch:
                which = each[MERGE_KEYS[name]]
                by_key[which] = _merged(by_key.get(which), each, strategic)
            return list(by_key.values())
    return patch


# --- validation -----------------------------------------------------------------------------------


def _default_pod_cidrs(node: Json) -> None:
    """Make ``podCIDR`` and ``podCIDRs`` agree: the former wins, as in the conversion of an API server."""
    spec = node.setdefault("spec", {})
    one, several = spec.get("podCIDR") or "", spec.get("podCIDRs") or []
    if one and (not several or several[0] != one):
        spec["podCIDRs"] = [one]
    elif several and not one:
        spec["podCIDR"] = several[0]


def _problems(kind: Kind, key: Key, old: Json | None, new: Json) -> Iterator[str]:
    if not NAME.fullmatch(key[2]) or new["metadata"].get("name") != key[2]:
        yield f"metadata.name: Invalid value: {new['metadata'].get('name')!r}"
    for field, value in (new["metadata"].get("labels") or {}).items():
        if not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
            yield f"metadata.labels: Invalid value: {field}={value!r}"
    yield from {
        "Node": _problems_of_node,
        "EndpointSlice": _problems_of_slice,
        "Endpoints": _problems_of_endpoints,
        "ConfigMap": _problems_of_config_map,
    }.get(kind.kind, lambda _old, _new: iter(()))(old, new)


def _problems_of_node(old: Json | None, new: Json) -> Iterator[str]:
    before = ((old or {}).get("spec") or {}).get("podCIDRs") or []
    after = new["spec"].get("podCIDRs") or []
    if old is not None and before and before != after:
        yield 'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    families = []
    for cidr in after:
        try:
            families.append(ipaddress.ip_network(cidr).version)
        except ValueError:
            yield f"spec.podCIDRs: Invalid value: {cidr!r}: must be a valid CIDR value"
    if len(after) > 2 or len(families) != len(set(families)):
        yield f"spec.podCIDRs: Invalid value: {after}: may specify no more than one CIDR for each IP family"


def _problems_of_slice(old: Json | None, new: Json) -> Iterator[str]:
    kind = new.get("addressType")
    if kind not in ("IPv4", "IPv6", "FQDN"):
        yield f"addressType: Unsupported value: {kind!r}"
    if old is not None and old.get("addressType") != kind:
        yield "addressType: Invalid value: field is immutable"
    for endpoint in new.get("endpoints") or []:
        if not endpoint.get("addresses"):
            yield "endpoints[0].addresses: Required value: must contain at least 1 address"
        for address in endpoint.get("addresses") or []:
            if kind == "IPv4" and not _is_address(address, 4):
                yield f"endpoints[0].addresses[0]: Invalid value: {address!r}: must be a valid IPv4 address"
    yield from _problems_of_ports(new.get("ports") or [])


def _problems_of_endpoints(_old: Json | None, new: Json) -> Iterator[str]:
    for subset in new.get("subsets") or []:
        found = [*(subset.get("addresses") or []), *(subset.get("notReadyAddresses") or [])]
        if not found:
            yield "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"
        for each in found:
            if not (_is_address(each.get("ip"), 4) or _is_address(each.get("ip"), 6)):
                yield f"subsets[0].addresses[0].ip: Invalid value: {each.get('ip')!r}: must be a valid IP address"
        yield from _problems_of_ports(subset.get("ports") or [])


def _problems_of_ports(ports: list[Json]) -> Iterator[str]:
    for port in ports:
        if not (isinstance(port.get("port"), int) and 1 <= port["port"] <= 65535):
            yield f"ports[0].port: Invalid value: {port.get('port')!r}: must be between 1 and 65535, inclusive"
        if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
            yield f"ports[0].protocol: Unsupported value: {port['protocol']!r}"


def _problems_of_config_map(_old: Json | None, new: Json) -> Iterator[str]:
    for name, value in (new.get("data") or {}).items():
        if not isinstance(value, str):
            yield f"data[{name}]: Invalid value: must be a string"


def _is_address(text: Any, version: int) -> bool:
    try:
        return ipaddress.ip_address(str(text)).version == version
    except ValueError:
        return False
