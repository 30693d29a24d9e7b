# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: a kubeconfig: which server its clusters have, and that changed with every other byte left as it is.

A kubeconfig holds private keys and tokens. No text of it is ever shown but names of
clusters and addresses of servers.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import typing as t
import urllib.parse

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.yaml_spans import (
    Node,
    Scalar,
    Unreadable,
    read,
)


class Credentials(t.NamedTuple):
    """A client's certificate and private key, as PEM. Never shown, not even by a traceback's ``repr``."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"


class KubeconfigCluster(t.NamedTuple):
    """An entry of ``clusters``."""

    name: str
    server: Scalar
    authority: str | None  # PEM of the CA
    tls_name: str | None  # for which the server's certificate must be valid, if not for the server's name
    credentials: Credentials | None


class Kubeconfig(t.NamedTuple):
    """One file."""

    path: str
    text: str
    clusters: list[KubeconfigCluster]

    def chosen(self, names: t.Collection[str]) -> list[KubeconfigCluster]:
        """The clusters of these names; without a name, the one that there is.

        :raises ValidationError: none of these names is there, or there are several and none is named.
        """
        there = ", ".join(cluster.name for cluster in self.clusters)
        if not names and len(self.clusters) > 1:
            raise ValidationError(
                f"{self.path} has {len(self.clusters)} clusters ({there}): name those to change (clusters)"
            )
        chosen = [cluster for cluster in self.clusters if not names or cluster.name in names]
        if not chosen:
            raise ValidationError(f"{self.path} has no cluster {' or '.join(names)}: it has {there}")
        return chosen

    def with_server(self, clusters: t.Sequence[KubeconfigCluster], url: str) -> str:
        """The text with another server for these clusters; the quotes stay as they are."""
        text = self.text
        for cluster in sorted(clusters, key=lambda cluster: -cluster.server.start):
            start, end = cluster.server.start, cluster.server.end
            quote = text[start] if text[start] in "\"'" else ""
            text = f"{text[:start]}{quote}{url}{quote}{text[end:]}"
        return text


def parse(path: str, text: str) -> Kubeconfig:
    """Reads a kubeconfig; files that it names are read, too.

    :param path: its full name.
    :raises ValidationError: it cannot be read for certain, or lacks what a client needs.
    """
    try:
        document = read(text)
    except Unreadable as error:
        raise ValidationError(
            f"{path}: {error}; this cannot be changed safely: let 'kubectl config view --raw' write it anew"
        ) from error
    if not isinstance(document, dict) or _text(document.get("kind", "")) != "Config":
        raise ValidationError(f"{path} is no kubeconfig: it has not 'kind: Config'")
    reader = _Reader(path, document)
    clusters = [reader.cluster(entry) for entry in reader.entries("clusters")]
    names = [cluster.name for cluster in clusters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValidationError(f"{path} has several clusters called {', '.join(twice)}")
    if not clusters:
        raise ValidationError(f"{path} has no clusters")
    return Kubeconfig(path, text, clusters)


def shown(url: str) -> str:
    """A server's URL as it may be shown: without a user's name and password, and without a query."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(no URL)"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Reader:
    """Values of a document, by the words of its kind."""

    def __init__(self, path: str, document: dict[str, t.Any]) -> None:
        self.path = path
        self.document = document

    def entries(self, kind: str) -> list[dict[str, t.Any]]:
        found = self.document.get(kind, [])
        if isinstance(found, Scalar) and found.value in ("", "null", "~"):
            return []
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValidationError(f"{self.path}: {kind} is no list of mappings")
        return found

    def cluster(self, entry: dict[str, t.Any]) -> KubeconfigCluster:
        name, body = _text(entry.get("name", "")), entry.get("cluster")
        server = body.get("server") if isinstance(body, dict) else None
        if not name:
            raise ValidationError(f"{self.path} has a cluster without a name")
        if not isinstance(body, dict) or not isinstance(server, Scalar) or not server.value:
            raise ValidationError(f"{self.path}: cluster {name} has no server that could be replaced")
        if not server.whole or not re.fullmatch(r"[a-z]+://\S+", server.value):
            raise ValidationError(
                f"{self.path}, line {server.line}: the server of cluster {name} is no URL on one line"
            )
        authority = self._data(body, "certificate-authority", f"cluster {name}")
        return KubeconfigCluster(
            name,
            server,
            None if authority is None else authority.decode("ascii", "replace"),
            _text(body.get("tls-server-name", "")) or None,
            self._credentials(name),
        )

    def _credentials(self, cluster: str) -> Credentials | None:
        """Of the current context's user if that is this cluster's; otherwise of the first context that is."""
        contexts = [(_text(entry.get("name", "")), entry.get("context")) for entry in self.entries("contexts")]
        current = _text(self.document.get("current-context", ""))
        contexts.sort(key=lambda pair: pair[0] != current)
        users = [
            _text(body.get("user", ""))
            for _name, body in contexts
            if isinstance(body, dict) and _text(body.get("cluster", "")) == cluster
        ]
        for entry in self.entries("users"):
            user = entry.get("user")
            if users and _text(entry.get("name", "")) == users[0] and isinstance(user, dict):
                what = f"user {users[0]}"
                certificate = self._data(user, "client-certificate", what)
                key = self._data(user, "client-key", what)
                return Credentials(certificate, key) if certificate and key else None
        return None

    def _data(self, body: dict[str, t.Any], key: str, what: str) -> bytes | None:
        """What ``key``-data holds, or the file that ``key`` names."""
        data, name = _text(body.get(f"{key}-data", "")), _text(body.get(key, ""))
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValidationError(f"{self.path}: {key}-data of {what} is not base64") from error
        if not name:
            return None
        path = os.path.join(os.path.dirname(self.path), name)
        try:
            with open(path, "rb") as stream:
                return stream.read()
        except OSError as error:
            raise ValidationError(f"{self.path}: {key} of {what}: {path} cannot be read: {error.strerror}") from error


def _text(node: Node) -> str:
    return node.value if isinstance(node, Scalar) else ""
