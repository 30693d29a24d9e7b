#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A stand-in for a Kubernetes API server: HTTPS, the REST paths of the official client and kubectl, RBAC, versions.

It knows the resources of standin_objects.KINDS, has no watches, and keeps nothing on a disk. Users are those of
client certificates of its CA, and of the tokens in a file. Paths below /standin/ control it, for the group
system:masters only:

    POST /standin/disturb    {"times": 2}                   another program changes Nodes before the next two patches
    POST /standin/reconcile  {"addresses": ["10.0.1.3"]}    keep default/kubernetes on these addresses; [] ends it
    POST /standin/sign       {"tokens": ["abcdef"]}         sign kube-public/cluster-info for these tokens; [] ends it
    POST /standin/rbac       {"objects": [...]}             the roles and bindings
    GET  /standin/requests                                  what each request was: user, verb, resource, namespace, name
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

from standin_objects import KINDS, Failure, Json, Key, Kind, Objects
from standin_rbac import MASTERS, Request, User, is_allowed, refusal

DELAY = 0.3
"""Seconds after which the simulated controllers react to a change."""

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))

CLUSTER_INFO = ("configmaps", "kube-public", "cluster-info")


class Target(NamedTuple):
    """What a path means. Without a name it is the collection."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


class Cluster:
    """The objects, the users, and the simulated controllers."""

    def __init__(self, tokens: dict[str, User]) -> None:
        self.objects = Objects()
        self.objects.after_change = self._after_change
        self.tokens = tokens
        self.rbac: list[Json] = []
        self.requests: list[list[str]] = []
        self.disturb = 0
        self.reconciled: list[str] = []
        self.signed: list[str] = []

    def control(self, what: str, body: Json) -> Json:
        """Carry out a request below /standin/."""
        if what == "requests":
            return {"requests": self.requests}
        if what == "disturb":
            self.disturb = body["times"]
        elif what == "reconcile":
            self.reconciled = body["addresses"]
            self._reconcile()
        elif what == "sign":
            self.signed = body["tokens"]
            self._sign()
        elif what == "rbac":
            self.rbac = body["objects"]
        else:
            raise Failure(404, "NotFound", f"there is no /standin/{what}")
        return {}

    def _after_change(self, key: Key) -> None:
        if key[1:] == ("default", "kubernetes") and self.reconciled:
            self._later(self._reconcile)
        if key == CLUSTER_INFO and self.signed:
            self._later(self._sign)

    def _later(self, action: Callable[[], None]) -> None:
        timer = threading.Timer(DELAY, action)
        timer.daemon = True
        timer.start()

    def _reconcile(self) -> None:
        """Do what an API server does every ten seconds, with --endpoint-reconciler-type=lease."""
        if not self.reconciled:
            return
        ports = [{"name": "https", "port": 6443, "protocol": "TCP"}]
        addresses = [{"ip": address} for address in self.reconciled]
        skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        self._put("endpoints", {"subsets": [{"addresses": addresses, "ports": ports}]}, skip)
        endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in self.reconciled]
        content = {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}
        self._put("endpointslices", content, {"kubernetes.io/service-name": "kubernetes"})

    def _put(self, plural: str, content: Json, labels: dict[str, str]) -> None:
        key = (plural, "default", "kubernetes")
        body = {**content, "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels}}
        with self.objects.lock:
            try:
                self.objects.replace(key, body)
            except Failure:
                self.objects.create(key, body)

    def _sign(self) -> None:
        """Do what the bootstrap signer of the controller-manager does. The signature is only a checksum."""
        with self.objects.lock:
            try:
                found = self.objects.get(CLUSTER_INFO)
            except Failure:
                return
            data = {name: text for name, text in found["data"].items() if not name.startswith("jws-kubeconfig-")}
            checksum = hashlib.sha256(data.get("kubeconfig", "").encode()).hexdigest()
            data.update({f"jws-kubeconfig-{token}": f"{token}..{checksum}" for token in self.signed})
            self.objects.replace(CLUSTER_INFO, {**found, "data": data})


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("create")

    def do_PUT(self) -> None:
        self._answer("update")

    def do_PATCH(self) -> None:
        self._answer("patch")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def _answer(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        try:
            user = self._user()
            code, answer = self._handle(verb, user, json.loads(text) if text else {})
        except Failure as failure:
            code, answer = failure.code, _status(failure)
        except ValueError as error:
            code, answer = 400, _status(Failure(400, "BadRequest", f"the body of the request is not JSON: {error}"))
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _handle(self, verb: str, user: User, body: Any) -> tuple[int, Any]:
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(url.query).items()}
        found = discovery(url.path)
        if found is not None:
            return 200, found
        if url.path.startswith("/standin/"):
            if MASTERS not in user.groups:
                raise Failure(403, "Forbidden", "only for administrators")
            return 200, self.cluster.control(url.path.removeprefix("/standin/"), body)
        target = parse_path(url.path)
        verb = "list" if verb == "get" and not target.name else verb
        resource = "/".join(filter(None, (target.kind.plural, target.subresource)))
        request = Request(verb, target.kind.group, resource, target.namespace, target.name)
        self.cluster.requests.append([user.name, verb, resource, target.namespace, target.name])
        if not is_allowed(self.cluster.rbac, user, request):
            raise Failure(403, "Forbidden", refusal(user, request))
        return (201 if verb == "create" else 200), self._perform(verb, target, query, body)

    def _perform(self, verb: str, target: Target, query: dict[str, str], body: Any) -> Json:
        objects, kind = self.cluster.objects, target.kind
        if verb == "list":
            return _page(kind, objects.list(kind.plural, target.namespace), query)
        if not target.name:
            target = target._replace(name=body.get("metadata", {}).get("name", ""))
        key = (kind.plural, target.namespace, target.name)
        if kind.namespaced and verb == "create":
            body = {**body, "metadata": {**body.get("metadata", {}), "namespace": target.namespace}}
        if verb == "get":
            return objects.get(key)
        if verb == "create":
            return objects.create(key, body)
        if verb == "delete":
            return objects.delete(key)
        if verb == "update":
            return objects.replace(key, body, target.subresource)
        if self.cluster.disturb and kind.plural == "nodes":
            self.cluster.disturb -= 1
            objects.touch(key)
        content_type = (self.headers.get("Content-Type") or "").partition(";")[0]
        return objects.patch(key, body, content_type, target.subresource)

    def _user(self) -> User:
        header = self.headers.get("Authorization") or ""
        if header:
            user = self.cluster.tokens.get(header.removeprefix("Bearer "))
            if user is None:
                raise Failure(401, "Unauthorized", "Unauthorized")
            return user
        certificate = self.connection.getpeercert()
        if not certificate:
            return ANONYMOUS
        fields = [pair for part in certificate["subject"] for pair in part]
        names = [value for field, value in fields if field == "commonName"]
        return User(names[0], [value for field, value in fields if field == "organizationName"])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write no log: the requests are kept."""


def _status(failure: Failure) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(failure),
        "reason": failure.reason,
        "code": failure.code,
    }


def _page(kind: Kind, found: list[Json], query: dict[str, str]) -> Json:
    """Return a list of objects, with ``labelSelector``, ``fieldSelector``, ``limit`` and ``continue``."""
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _equals, value = term.partition("=")
        found = [each for each in found if (each["metadata"].get("labels") or {}).get(name) == value.lstrip("=")]
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        found = [each for each in found if each["metadata"]["name"] == term.removeprefix("metadata.name=")]
    start, most = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(found)
    following = {"continue": str(start + most)} if start + most < len(found) else {}
    metadata = {"resourceVersion": "1", **following}
    items = found[start : start + most]
    return {"kind": f"{kind.kind}List", "apiVersion": kind.version, "metadata": metadata, "items": items}


def parse_path(path: str) -> Target:
    """Return what a path means."""
    parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
    unknown = Failure(404, "NotFound", "the server could not find the requested resource")
    if parts[:2] == ["api", "v1"]:
        group, parts = "", parts[2:]
    elif parts[:1] == ["apis"] and parts[2:3] == ["v1"]:
        group, parts = parts[1], parts[3:]
    else:
        raise unknown
    namespace = ""
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    kind = KINDS.get(parts[0]) if parts else None
    if kind is None or kind.group != group or len(parts) > 3 or (namespace and not kind.namespaced):
        raise unknown
    name, subresource = (*parts[1:], "", "")[:2]
    if (kind.namespaced and name and not namespace) or (
        subresource and not (kind.has_status and subresource == "status")
    ):
        raise unknown
    return Target(kind, namespace, name, subresource)


def discovery(path: str) -> Json | None:
    """Return what kubectl reads about the resources of a server, ``None`` for another path."""
    if path == "/version":
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.2", "platform": "linux/amd64"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = sorted({kind.group for kind in KINDS.values()} - {""})
    if path == "/apis":
        version = [{"groupVersion": f"{group}/v1", "version": "v1"} for group in groups]
        found = [{"name": group, "versions": [each]} for group, each in zip(groups, version, strict=True)]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
    if path not in ("/api/v1", *(f"/apis/{group}/v1" for group in groups)):
        return None
    group = path.split("/")[2] if path.startswith("/apis/") else ""
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    resources = [
        {
            "name": f"{kind.plural}{status}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": verbs,
        }
        for kind in KINDS.values()
        if kind.group == group
        for status in (["", "/status"] if kind.has_status else [""])
    ]
    version_of_group = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version_of_group, "resources": resources}


class Server(http.server.ThreadingHTTPServer):
    """The handshake happens in the thread of the connection, so a client that sends nothing keeps nobody waiting."""

    daemon_threads = True
    context: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that reject the certificate or hang up."""


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--directory", type=pathlib.Path, required=True, help="ca.crt, server.crt, server.key, tokens.json"
    )
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is written to DIRECTORY/port")
    given = parser.parse_args()
    users = json.loads((given.directory / "tokens.json").read_text())
    Handler.cluster = Cluster({token: User(name, groups) for token, (name, groups) in users.items()})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(given.directory / "server.crt", given.directory / "server.key")
    context.load_verify_locations(given.directory / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    Server.context = context
    server = Server((given.address, given.port), Handler)
    port = given.directory / "port"
    port.with_suffix(".new").write_text(str(server.server_address[1]))
    os.replace(port.with_suffix(".new"), port)
    server.serve_forever()


if __name__ == "__main__":
    main()
