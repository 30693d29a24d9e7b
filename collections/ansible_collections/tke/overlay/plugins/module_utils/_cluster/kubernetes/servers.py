# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ConfigMaps that name a server: cluster-info, which joining nodes read, and that of kube-proxy."""

from __future__ import annotations

import functools
import re
import time
import typing as t
import urllib.parse

try:
    import yaml
except ImportError:  # ansible-test imports every module_utils without it; client.connect() checks it
    HAS_YAML = False
else:
    HAS_YAML = True

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.changes import Change, retried
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import (
    CONFIG_MAPS,
    Api,
    ApiError,
    Json,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

SIGNATURE = "jws-kubeconfig-"
"""The first letters of the keys of cluster-info with the signatures of its kubeconfig, one for each bootstrap token."""

PAUSE = 0.5

HTTPS_PORT = 443
"""The port of a server without one."""


class Endpoint(t.NamedTuple):
    """How clients reach the API servers through the load balancer. ``wait``: seconds for a new signature."""

    name: str
    vip: str
    port: int
    wait: float = 10.0

    @property
    def server(self) -> str:
        """Return the server for a kubeconfig."""
        return f"https://{self.name}:{self.port}"


class Source(t.NamedTuple):
    """A ConfigMap, the key of its kubeconfig, and what to do after a change."""

    namespace: str
    name: str
    key: str
    effect: str
    next_step: str = ""


SOURCES = {
    "cluster-info": Source(
        "kube-public", "cluster-info", "kubeconfig", "nodes that join with 'kubeadm join' use that server"
    ),
    "kube-proxy": Source(
        "kube-system",
        "kube-proxy",
        "kubeconfig.conf",
        "each kube-proxy uses that server",
        "kubectl -n kube-system rollout restart daemonset kube-proxy",
    ),
}
"""Name in overlay_kubernetes_update -> where the server is."""


class ServerRow(t.NamedTuple):
    """What is known of one ConfigMap. ``servers`` is empty if it does not exist."""

    source: str
    servers: t.Sequence[str]
    wanted: str
    differs: bool = False
    update: bool = False

    @property
    def where(self) -> str:
        """Return the name of the ConfigMap."""
        return f"{SOURCES[self.source].namespace}/{SOURCES[self.source].name}"


def compare(api: Api, endpoint: Endpoint, update: t.Collection[str]) -> tuple[list[ServerRow], list[Change]]:
    """Return a row for each ConfigMap, and the changes of those in ``update``.

    :raises ValidationError: a ConfigMap that is to be changed has no kubeconfig that can be read.
    """
    rows, changes, problems = [], [], []
    for name, source in SOURCES.items():
        found = api.get(CONFIG_MAPS, source.name, source.namespace)
        text = str(((found or {}).get("data") or {}).get(source.key, ""))
        try:
            spans = servers(text)
        except ValueError as error:
            if name in update:
                problems.append(
                    f"ConfigMap {source.namespace}/{source.name} has no kubeconfig that can be changed in its key "
                    f"{source.key} ({error}): correct it, or remove {name} from overlay_kubernetes_update"
                )
            spans = []
        differs = [span for span in spans if not _leads_to(span.server, endpoint)]
        row = ServerRow(
            name, [shown(span.server)[1:-1] for span in spans], endpoint.server, bool(differs), name in update
        )
        rows.append(row)
        if found is not None and differs and row.update:
            changes.append(_change(api, row, found, _replaced(text, differs, endpoint.server), endpoint.wait))
    if problems:
        raise ValidationError(*problems)
    return rows, changes


class Span(t.NamedTuple):
    """The server of one cluster in the text of a kubeconfig, and its place."""

    server: str
    start: int
    end: int


def servers(text: str) -> list[Span]:
    """Return the servers in a kubeconfig; nothing for an empty text.

    :raises ValueError: the text is no kubeconfig.
    """
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if document is None:
        return []
    spans = []
    for cluster in _items(_value(document, "clusters")):
        server = _value(_value(cluster, "cluster"), "server")
        if not isinstance(server, yaml.ScalarNode):
            raise ValueError(f"line {cluster.start_mark.line + 1}: a cluster without a server")
        spans.append(Span(str(server.value), server.start_mark.index, server.end_mark.index))
    return spans


def _items(node: t.Any) -> list[t.Any]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _value(node: t.Any, key: str) -> t.Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _replaced(text: str, spans: t.Sequence[Span], server: str) -> str:
    """Return the text with another server at each place, and otherwise unchanged."""
    for span in sorted(spans, key=lambda each: each.start, reverse=True):
        text = text[: span.start] + server + text[span.end :]
    return text


def _leads_to(server: str, endpoint: Endpoint) -> bool:
    """Whether a server is the API endpoint, by its name or by the address of the VIP."""
    try:
        url = urllib.parse.urlsplit(server)
        port = url.port or HTTPS_PORT
        return url.scheme == "https" and url.hostname in (endpoint.name, endpoint.vip) and port == endpoint.port
    except ValueError:
        return False


# --- changes --------------------------------------------------------------------------------------


def _change(api: Api, row: ServerRow, found: Json, text: str, wait: float) -> Change:
    source = SOURCES[row.source]
    header = f"ConfigMap {row.where} of {api.address}"
    return Change(
        row.source,
        header,
        _shortened(str(found["data"][source.key])),
        _shortened(text),
        functools.partial(_apply, row, found, text, wait),
    )


def _shortened(kubeconfig: str) -> str:
    """Return the text without the certificates, which are long and do not change."""
    return re.sub(r"(certificate-authority-data: *)\S{20,}", r"\1(not shown)", kubeconfig).rstrip("\n") + "\n"


def _apply(row: ServerRow, found: Json, text: str, wait: float, api: Api) -> list[str]:
    """Write a kubeconfig. Signatures of the former text are removed with the same request.

    A node that joins rejects a wrong signature at once, but waits for one that is not there yet.
    """
    source = SOURCES[row.source]
    current: list[Json] = [found]

    def write() -> list[str]:
        read = current.pop() if current else api.get(CONFIG_MAPS, source.name, source.namespace) or {}
        data = read.get("data") or {}
        if data.get(source.key) != found["data"][source.key]:
            raise ApiError(f"ConfigMap {row.where} was changed by another program just now: run the playbook again")
        signatures = sorted(name for name in data if name.startswith(SIGNATURE))
        version = read["metadata"].get("resourceVersion", "")
        body = {"metadata": {"resourceVersion": version}, "data": {source.key: text, **dict.fromkeys(signatures)}}
        api.patch(CONFIG_MAPS, source.name, body, source.namespace)
        return signatures

    signatures = retried(f"ConfigMap {row.where}", write)
    return _notes_on_signatures(api, source, signatures, wait) if signatures else []


def _notes_on_signatures(api: Api, source: Source, signatures: t.Sequence[str], wait: float) -> list[str]:
    """Wait for the new signatures, and return a note if some do not come."""
    end = time.monotonic() + wait
    while True:
        data = (api.get(CONFIG_MAPS, source.name, source.namespace) or {}).get("data") or {}
        missing = [name[len(SIGNATURE) :] for name in signatures if name not in data]
        if not missing:
            return []
        if time.monotonic() > end:
            tokens = ", ".join(map(shown, missing))
            note = (
                f"ConfigMap {source.namespace}/{source.name} has no new signature for the bootstrap tokens {tokens} "
                f"after {wait:g} s, and 'kubeadm join' waits for one: run kube-controller-manager with "
                f"--controllers=*,bootstrapsigner,tokencleaner, or create a token with 'kubeadm token create'"
            )
            return [note]
        time.sleep(PAUSE)
