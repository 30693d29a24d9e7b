# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Service ``kubernetes``, by which Pods reach the API: its endpoints lead to the VIP of the API servers.

API servers write these endpoints themselves, with their own addresses, unless they
run with ``--endpoint-reconciler-type=none``. An API server that still does so puts
them back within ten seconds.
"""

from __future__ import annotations

import functools
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.changes import Change, retried
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    Api,
    ApiError,
    ConflictError,
    Json,
    Resource,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

NAMESPACE, NAME = "default", "kubernetes"

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
MANAGER = "tke-overlay"
MIRROR = "endpointslicemirroring-controller.k8s.io"

PAUSE = 1.0
"""Seconds between two looks at whether an API server puts its own addresses back."""


class Vip(t.NamedTuple):
    """Where the endpoints lead, and the seconds for which a change must last. API servers reconcile every ten."""

    address: str
    port: int
    wait: float = 12.0

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class _Found(t.NamedTuple):
    """The objects of the API; ``None`` for what does not exist."""

    endpoints: Json | None
    slice: Json | None


def compare(api: Api, vip: Vip) -> list[Change]:
    """Return the changes that make the Service lead to the VIP.

    :raises ValidationError: other EndpointSlices of the Service lead elsewhere as well.
    """
    labels = f"{SERVICE_LABEL}={NAME}"
    slices = {each["metadata"]["name"]: each for each in api.all_of(ENDPOINT_SLICES, NAMESPACE, labels)}
    found = _Found(api.get(ENDPOINTS, NAME, NAMESPACE), slices.pop(NAME, None))
    problems = [
        f"EndpointSlice {NAMESPACE}/{name} ({_addresses_of_slice(each) or 'no addresses'}) also belongs to Service "
        f"{NAMESPACE}/{NAME}, which overlay_api_service leads to the VIP {vip}: "
        f"'kubectl -n {NAMESPACE} delete endpointslice {name}', or remove overlay_api_service"
        for name, each in sorted(slices.items())
        # The mirror of the Endpoints is deleted by its controller as soon as these have the label.
        if (each["metadata"].get("labels") or {}).get(MANAGER_LABEL) != MIRROR
    ]
    if found.slice is not None and found.slice.get("addressType") != "IPv4":
        problems.append(
            f"EndpointSlice {NAMESPACE}/{NAME} has the addressType {found.slice.get('addressType')}, which cannot be "
            f"changed, and the VIP is {vip}: 'kubectl -n {NAMESPACE} delete endpointslice {NAME}'"
        )
    if problems:
        raise ValidationError(*problems)
    if _is_as_wanted(found, vip):
        return []
    header = f"Service {NAMESPACE}/{NAME} of {api.address}"
    return [Change("service", header, _text(found), _text(_wanted(vip)), functools.partial(_apply, vip, found))]


def _wanted(vip: Vip) -> _Found:
    ports = [{"name": "https", "port": vip.port, "protocol": "TCP"}]
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": NAME, "labels": {SKIP_LABEL: "true"}},
        "subsets": [{"addresses": [{"ip": vip.address}], "ports": ports}],
    }
    endpoint_slice = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "labels": {SERVICE_LABEL: NAME, MANAGER_LABEL: MANAGER}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [vip.address], "conditions": {"ready": True}}],
        "ports": ports,
    }
    return _Found(endpoints, endpoint_slice)


def _is_as_wanted(found: _Found, vip: Vip) -> bool:
    return _text(found) == _text(_wanted(vip))


def _text(found: _Found) -> str:
    """Return what matters of the objects, for the comparison and the diff."""
    lines = []
    if found.endpoints is not None:
        lines.append(f"Endpoints {NAME}: {_addresses_of(found.endpoints) or 'no addresses'}{_labels(found.endpoints)}")
    if found.slice is not None:
        addresses = _addresses_of_slice(found.slice) or "no addresses"
        lines.append(f"EndpointSlice {NAME}: {addresses}{_labels(found.slice)}")
    return "".join(f"{line}\n" for line in lines)


def _labels(found: Json) -> str:
    labels = found["metadata"].get("labels") or {}
    return "".join(f", {name}={labels[name]}" for name in (SERVICE_LABEL, MANAGER_LABEL, SKIP_LABEL) if name in labels)


def _addresses_of(endpoints: Json) -> str:
    subsets = endpoints.get("subsets") or []
    return " ".join(
        f"{address['ip']}:{_port(port)}"
        for subset in subsets
        for address in [*(subset.get("addresses") or []), *(subset.get("notReadyAddresses") or [])]
        for port in subset.get("ports") or []
    )


def _addresses_of_slice(endpoint_slice: Json) -> str:
    return " ".join(
        f"{address}:{_port(port)}"
        for endpoint in endpoint_slice.get("endpoints") or []
        for address in endpoint.get("addresses") or []
        for port in endpoint_slice.get("ports") or []
    )


def _port(port: Json) -> str:
    """Return a port. Its name matters: it must be that of the port of the Service."""
    name = port.get("name") or ""
    return f"{port.get('port')}{'' if name == 'https' else f' (port name {shown(name)})'}"


# --- changes --------------------------------------------------------------------------------------


def _apply(vip: Vip, found: _Found, api: Api) -> list[str]:
    """Write both objects, and check that no API server puts its own addresses back."""
    wanted = _wanted(vip)
    for resource, old, new in (
        (ENDPOINTS, found.endpoints, wanted.endpoints),
        (ENDPOINT_SLICES, found.slice, wanted.slice),
    ):
        retried(f"{resource} {NAMESPACE}/{NAME}", functools.partial(_write, api, resource, old is None, new or {}))
    end = time.monotonic() + vip.wait
    while True:
        now = _Found(api.get(ENDPOINTS, NAME, NAMESPACE), _slice(api))
        if not _is_as_wanted(now, vip):
            raise ApiError(
                f"Service {NAMESPACE}/{NAME} was led to the VIP {vip} (overlay_api_service), and an API server has put "
                f"back {_addresses_of(now.endpoints or {}) or 'nothing'}: run every API server with "
                f"--endpoint-reconciler-type=none, or remove overlay_api_service"
            )
        if time.monotonic() > end:
            return []
        time.sleep(min(PAUSE, vip.wait / 4))


def _slice(api: Api) -> Json | None:
    found = api.all_of(ENDPOINT_SLICES, NAMESPACE, f"{SERVICE_LABEL}={NAME}")
    return next((each for each in found if each["metadata"]["name"] == NAME), None)


def _write(api: Api, resource: Resource, is_new: bool, body: Json) -> None:
    if is_new:
        try:
            api.create(resource, body, NAMESPACE)
        except ConflictError:  # an API server has created it meanwhile
            api.patch(resource, NAME, body, NAMESPACE)
    else:
        api.patch(resource, NAME, body, NAMESPACE)
