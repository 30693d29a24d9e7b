# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change objects of a Kubernetes API server with the official client.

This module adds to the client: one sentence for each error, which names the server,
and the verb and the resource that it refused; objects as the dictionaries of their
JSON, because the models of the client reject some valid objects; lists page by page.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import typing as t

if t.TYPE_CHECKING:
    from kubernetes import client

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import ApiNode, node_of
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

Json = t.Dict[str, t.Any]

HAS_KUBERNETES = all(map(importlib.util.find_spec, ("kubernetes", "urllib3", "yaml")))
"""Whether the client is installed. It is imported only when needed: that takes 0.4 s, in every task that plans."""

TIMEOUT = (5, 30)
"""Seconds for a connection, and for each read of an answer."""

WITHOUT = """a run with -e '{"overlay_kubeconfig": null}' leaves Kubernetes alone"""
"""The way out while there is no API server, for instance because the run is to repair its load balancer."""

PAGE = 500
"""Objects of one answer of a list."""

ANONYMOUS = "system:anonymous"
"""The user of a request without credentials. It must not get any roles."""

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class ApiError(ValidationError):
    """The API server cannot be reached, or refuses a request."""


class ConflictError(Exception):
    """An object has changed or was deleted since it was read, or exists already."""


class Resource(t.NamedTuple):
    """Which method of the official client handles a resource: ``verb_method``, in the class ``group``."""

    plural: str
    method: str
    group: str = "CoreV1Api"
    subresource: str = ""

    def __str__(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


NODES = Resource("nodes", "node")
NODE_STATUS = Resource("nodes", "node_status", subresource="status")
CONFIG_MAPS = Resource("configmaps", "namespaced_config_map")
ENDPOINTS = Resource("endpoints", "namespaced_endpoints")
ENDPOINT_SLICES = Resource("endpointslices", "namespaced_endpoint_slice", "DiscoveryV1Api")

_METHODS = {"get": "read", "list": "list", "create": "create", "patch": "patch", "delete": "delete"}
"""Verb of RBAC -> the first word of the client's methods."""


def connect(kubeconfig: str, context: str | None = None) -> Api:
    """Return the API server of a kubeconfig. Nothing is sent yet.

    :param context: the context of the kubeconfig; by default its current one.
    :raises ApiError: the client is not installed, or the kubeconfig cannot be used.
    """
    if not HAS_KUBERNETES:
        raise ApiError(
            "overlay_kubeconfig is set, and the Python of this controller has no kubernetes (the official client of "
            f"the API): run '{sys.executable} -m pip install kubernetes'"
        )
    path = os.path.expanduser(kubeconfig)
    where = f"overlay_kubeconfig {shown(kubeconfig)}"
    if not os.path.isfile(path):
        raise ApiError(f"{where} is not a file on the controller: set the path of an administrator's kubeconfig")
    import yaml  # noqa: PLC0415
    from kubernetes import client, config  # noqa: PLC0415

    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ApiError(f"{where} cannot be read: {_one_line(error)}") from error
    contexts = [each.get("name") for each in _list(content, "contexts") if isinstance(each, dict)]
    if context is not None and context not in contexts:
        known = ", ".join(map(str, contexts)) or "none"
        raise ApiError(f"overlay_kubeconfig_context {shown(context)} is not in {kubeconfig}: its contexts are {known}")
    settings = client.Configuration()
    try:
        # Without persist_config, a renewed token of a plugin would be written into the file of the user.
        config.load_kube_config(path, context, settings, persist_config=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # the client passes on whatever a broken file causes
        raise ApiError(f"{where} cannot be used: {_one_line(error)}") from error
    settings.retries = 1
    return Api(client.ApiClient(settings), settings.host, kubeconfig)


class Api:
    """An API server, with the credentials of one kubeconfig."""

    def __init__(self, api_client: client.ApiClient, address: str, kubeconfig: str) -> None:
        self.address = address
        self._client = api_client
        self._kubeconfig = kubeconfig

    def nodes(self) -> list[ApiNode]:
        """Return all Node objects.

        :raises ApiError: the server cannot be reached, or refuses the request.
        """
        return [node_of(each) for each in self.all_of(NODES)]

    def node(self, name: str) -> ApiNode | None:
        """Return one Node object, ``None`` if there is none of this name."""
        found = self.get(NODES, name)
        return None if found is None else node_of(found)

    def all_of(self, resource: Resource, namespace: str = "", labels: str = "") -> list[Json]:
        """Return the objects of a resource that match a label selector."""
        options: Json = {"limit": PAGE, **({"label_selector": labels} if labels else {})}
        found: list[Json] = []
        while True:
            answer = self._send("list", resource, namespace, **options) or {}
            found += answer.get("items") or []
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                return found
            options["_continue"] = following

    def get(self, resource: Resource, name: str, namespace: str = "") -> Json | None:
        """Return one object, ``None`` if there is none of this name."""
        return self._send("get", resource, namespace, name=name)

    def create(self, resource: Resource, body: Json, namespace: str = "") -> None:
        """Create an object.

        :raises ConflictError: it exists.
        """
        self._send("create", resource, namespace, body=body)

    def patch(self, resource: Resource, name: str, body: Json, namespace: str = "", strategic: bool = False) -> Json:
        """Change an object, and return it. A ``metadata.resourceVersion`` in the body must be the current one.

        :param strategic: merge lists by their keys, such as conditions by their type, instead of replacing them.
        :raises ConflictError: it has changed since, or does not exist.
        """
        kind = STRATEGIC_PATCH if strategic else MERGE_PATCH
        return self._send("patch", resource, namespace, name=name, body=body, _content_type=kind) or {}

    def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Delete an object, if it exists."""
        self._send("delete", resource, namespace, name=name)

    def _send(self, verb: str, resource: Resource, namespace: str, **options: t.Any) -> Json | None:
        from kubernetes import client  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        method = getattr(getattr(client, resource.group)(self._client), f"{_METHODS[verb]}_{resource.method}")
        if namespace:
            options["namespace"] = namespace
        try:
            answer = method(**options, _preload_content=False, _request_timeout=TIMEOUT)
            found = json.loads(answer.data)
        except client.ApiException as error:
            if error.status == 404 and verb in ("get", "delete"):
                return None
            if error.status == 409 or (error.status == 404 and verb == "patch"):
                raise ConflictError(_message(error)) from error
            name = f" {namespace}/{options.get('name', '')}".rstrip("/") if namespace else ""
            raise ApiError(self._refusal(f"{verb} {resource}{name}", error)) from error
        except (HTTPError, OSError) as error:
            raise ApiError(self._unreached(error)) from error
        except ValueError as error:
            raise ApiError(f"{self._server()} does not answer as an API server: {_one_line(error)}") from error
        return t.cast(Json, found)

    def _server(self) -> str:
        return f"the API server {self.address} (overlay_kubeconfig {self._kubeconfig})"

    def _refusal(self, request: str, error: client.ApiException) -> str:
        """Return the sentence about a request that the server did not carry out."""
        message = _message(error)
        if error.status == 401:
            return (
                f"{self._server()} does not accept the credentials of the kubeconfig (401, {request}): its token or "
                "certificate is not of this cluster, has expired or is missing; set overlay_kubeconfig to a valid one"
            )
        if error.status == 403 and ANONYMOUS in message:
            return (
                f"{self._server()} refuses '{request}', because the request had no credentials: {message}; the user of "
                "the kubeconfig has none, or its exec plugin failed or is not installed on this controller; set "
                "overlay_kubeconfig to one with credentials, and check it with 'kubectl auth whoami'"
            )
        if error.status == 403:
            return (
                f"{self._server()} refuses '{request}': {message}; bind the roles of the file "
                "roles/kubernetes/files/rbac.yml of this collection to this user"
            )
        if not error.status:  # the client reports TLS errors so
            return self._unreached(error)
        return f"{self._server()} answers {error.status} to '{request}': {message}"

    def _unreached(self, error: Exception) -> str:
        text = _one_line(error)
        found = re.search(r"certificate verify failed: ([^(\"']*)", text)
        if found:
            return (
                f"{self._server()} has a certificate that its CA in the kubeconfig does not verify: "
                f"{found.group(1).strip()}; check server, certificate-authority and tls-server-name in the kubeconfig"
            )
        return f"{self._server()} cannot be reached: {_reason(error)}; {WITHOUT}"


def _message(error: client.ApiException) -> str:
    """Return the message of the Status object in an answer, or what there is instead."""
    try:
        return _one_line(json.loads(error.body or "")["message"])
    except (KeyError, TypeError, ValueError):
        return _one_line(error.reason or error.body or "no reason given")


def _reason(error: t.Any) -> str:
    """Return the cause of an error of urllib3, without the objects in its text."""
    text = _one_line(getattr(error, "reason", None) or error)
    return re.sub(r"^.*<[^>]*>: |^HTTPS?Connection\([^)]*\): ", "", text)


def _one_line(value: t.Any) -> str:
    """Return a text of another program on one line of printable characters."""
    text = " ".join(str(value).split())
    return "".join(each if each.isprintable() else "?" for each in text)


def _list(content: t.Any, key: str) -> list[t.Any]:
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, list) else []
