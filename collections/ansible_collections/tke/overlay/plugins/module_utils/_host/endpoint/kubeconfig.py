# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a kubeconfig, and change the servers of its clusters without touching any other byte.

A kubeconfig holds private keys and tokens. Messages show only names of clusters and
users, and addresses of servers.
"""

from __future__ import annotations

import base64
import binascii
import collections
import os
import re
import typing as t
import urllib.parse

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import OMITTED
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.yaml_spans import (
    Node,
    Scalar,
    UnsupportedYamlError,
    parse_yaml,
)
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

MOST_BYTES = 1 << 20
"""A larger file holds no certificate and no key."""

MOST_FILES = 100
"""Certificates and keys beside a kubeconfig."""


class Credentials(t.NamedTuple):
    """A client certificate and its private key, as PEM. They are never shown, not even by ``repr`` in a traceback."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"


NO_SERVER = Scalar("", 0, 0, 0)
"""The server of a cluster that has none, and is not selected."""


class KubeconfigCluster(t.NamedTuple):
    """An entry of ``clusters``.

    ``authority`` is the CA as it is in the file. ``tls_name`` is the name for which the
    server's certificate must be valid, if it is not the name of the server. ``insecure``
    and ``proxy`` are what the keys of these names in a kubeconfig say.
    """

    name: str
    server: Scalar
    authority: bytes | None
    tls_name: str | None
    credentials: Credentials | None
    insecure: bool = False
    proxy: str = ""


class Kubeconfig(t.NamedTuple):
    """A parsed kubeconfig."""

    path: str
    text: str
    clusters: list[KubeconfigCluster]

    def select(self, names: t.Collection[str]) -> list[KubeconfigCluster]:
        """Return the clusters of these names; without names, the only cluster.

        :raises ValidationError: the file has none of these clusters, or several while no name is given.
        """
        present = ", ".join(cluster.name for cluster in self.clusters)
        if not names and len(self.clusters) > 1:
            raise ValidationError(
                f"{self.path} has {len(self.clusters)} clusters ({present}): list those to change in clusters"
            )
        selected = [cluster for cluster in self.clusters if not names or cluster.name in names]
        if not selected:
            raise ValidationError(f"{self.path} has no cluster {' or '.join(names)}: it has {present}")
        return selected

    def with_server(self, clusters: t.Sequence[KubeconfigCluster], url: str) -> str:
        """Return the text with another server for these clusters; quotes stay as they are."""
        text = self.text
        for cluster in sorted(clusters, key=lambda cluster: -cluster.server.start):
            start, end = cluster.server.start, cluster.server.end
            quote = text[start] if text[start] in "\"'" else ""
            text = f"{text[:start]}{quote}{url}{quote}{text[end:]}"
        return text


def parse_kubeconfig(path: str, text: str, names: t.Collection[str] = (), credentials: bool = True) -> Kubeconfig:
    """Parse a kubeconfig, and read the files that it names.

    :param path: the absolute path of the kubeconfig.
    :param names: the clusters that are checked, and whose CA and credentials are read; without names, all.
    :param credentials: whether client certificates and keys are read.
    :raises ValidationError: it uses unsupported YAML, or lacks what a client needs.
    """
    try:
        document = parse_yaml(text)
    except UnsupportedYamlError as error:
        raise ValidationError(
            f"{path}: {error}; the file cannot be changed safely: rewrite it with 'kubectl config view --raw'"
        ) from error
    if not isinstance(document, dict) or _text(document.get("kind", "")) != "Config":
        raise ValidationError(f"{path} is no kubeconfig: it lacks 'kind: Config'")
    reader = _Reader(path, document, names, credentials)
    clusters = [reader.cluster(entry) for entry in reader.entries("clusters")]
    counts = collections.Counter(cluster.name for cluster in clusters)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise ValidationError(f"{path} has several clusters with the name {', '.join(repeated)}")
    if not clusters:
        raise ValidationError(f"{path} has no clusters")
    return Kubeconfig(path, text, clusters)


def redacted_url(url: str) -> str:
    """Return a server's URL without user name, password and query, so that it may be shown."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Reader:
    """Reads the entries of a kubeconfig document."""

    def __init__(self, path: str, document: dict[str, t.Any], names: t.Collection[str], credentials: bool) -> None:
        self.path = path
        self.document = document
        self.names = names
        self.credentials = credentials
        self.files = 0

    def entries(self, kind: str) -> list[dict[str, t.Any]]:
        found = self.document.get(kind, [])
        if isinstance(found, Scalar) and found.value in ("", "null", "~"):
            return []
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValidationError(f"{self.path}: {kind} is not a list of mappings")
        return found

    def cluster(self, entry: dict[str, t.Any]) -> KubeconfigCluster:
        name, body = _text(entry.get("name", "")), entry.get("cluster")
        server = body.get("server") if isinstance(body, dict) else None
        if not name:
            raise ValidationError(f"{self.path} has a cluster without a name")
        if self.names and name not in self.names:
            return KubeconfigCluster(name, server if isinstance(server, Scalar) else NO_SERVER, None, None, None)
        if not isinstance(body, dict) or not isinstance(server, Scalar) or not server.value:
            raise ValidationError(f"{self.path}: cluster {name} has no server to replace")
        if not server.single_line or not re.fullmatch(r"[a-z]+://\S+", server.value):
            raise ValidationError(
                f"{self.path}, line {server.line}: the server of cluster {name} is not a URL on one line"
            )
        authority = self._data(body, "certificate-authority", f"cluster {name}")
        insecure = _text(body.get("insecure-skip-tls-verify", "")).lower() == "true"
        if insecure and authority is not None:
            raise ValidationError(
                f"{self.path}: cluster {name} has a CA and insecure-skip-tls-verify: true, and Kubernetes rejects both "
                f"together: remove insecure-skip-tls-verify"
            )
        return KubeconfigCluster(
            name,
            server,
            authority,
            _text(body.get("tls-server-name", "")) or None,
            self._credentials(name) if self.credentials else None,
            insecure,
            _text(body.get("proxy-url", "")),
        )

    def _credentials(self, cluster: str) -> Credentials | None:
        """Return the credentials of a cluster's user: of the current context, or of the first with this cluster."""
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
        """Return the content of ``key``-data, or of the file that ``key`` names."""
        data, name = _text(body.get(f"{key}-data", "")), _text(body.get(key, ""))
        if data:
            if data.encode("utf-8", "replace") in OMITTED:
                raise ValidationError(
                    f"{self.path}: {key}-data of {what} is {data}, which 'kubectl config view' prints in the place of "
                    f"the data: write the file again with 'kubectl config view --raw --flatten'"
                )
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValidationError(f"{self.path}: {key}-data of {what} is not base64") from error
        if not name:
            return None
        return self._file(os.path.join(os.path.dirname(self.path), name), f"{key} of {what}")

    def _file(self, path: str, what: str) -> bytes:
        self.files += 1
        if self.files > MOST_FILES:
            raise ValidationError(f"{self.path} names more than {MOST_FILES} other files")
        try:
            return files.read_regular(path, MOST_BYTES)
        except (OSError, ValueError) as error:  # the latter for characters that no path has
            reason = error.strerror if isinstance(error, OSError) else "it is no path"
            raise ValidationError(f"{self.path}: {what}: {shown(path)[1:-1]} cannot be read: {reason}") from None


def _text(node: Node) -> str:
    return node.value if isinstance(node, Scalar) else ""
