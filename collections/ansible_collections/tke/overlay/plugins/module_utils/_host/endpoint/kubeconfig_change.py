# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determine what changes in the kubeconfigs of a host: the server, and nothing else."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address, with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import read_authority
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import TlsClient, tls_context
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import FileEdit
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.etc_hosts import names_in
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import (
    Kubeconfig,
    KubeconfigCluster,
    parse_kubeconfig,
    redacted_url,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.other_kubeconfigs import (
    Expected,
    find_others,
    host_of,
    port_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.spec import EndpointSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run


class KubeconfigChanges(t.NamedTuple):
    """The edits of kubeconfigs, a client for each selected cluster with the credentials of its user, and warnings.

    ``missing`` are the kubeconfigs that are not there yet, ``former`` the servers of those that change.
    """

    edits: list[FileEdit]
    clients: list[TlsClient]
    warnings: list[str]
    missing: list[str]
    former: list[str]


def read_kubeconfigs(spec: EndpointSpec, problems: list[str]) -> KubeconfigChanges:
    """Compare the kubeconfigs of a host with a specification.

    :param problems: gets a sentence for each fault of a file.
    """
    changes, present, seen = KubeconfigChanges([], [], [], [], []), set(), set()
    for path in spec.kubeconfigs:
        real = os.path.realpath(files.ROOT + path)
        if real in seen:  # a link to a listed one, or the same path again: a file is changed once
            continue
        seen.add(real)
        try:
            text = _read(path, spec.kubeconfigs_required)
            if text is None:
                changes.missing.append(path)
                continue
            config = parse_kubeconfig(path, text, spec.clusters)
            present |= {cluster.name for cluster in config.clusters}
            selected = config.select(spec.clusters)
            clients = [_client_of(cluster, path, spec) for cluster in selected]
        except ValidationError as error:
            problems += error.problems
            continue
        changes.edits.append(_edit_of(config, selected, spec.url))
        changes.former.extend(c.server.value for c in selected if c.server.value != spec.url)
        changes.clients.extend(client for client in clients if client.authority)
        changes.warnings.extend(text for cluster in selected for text in _warnings_of(cluster, path))
    if not problems and not changes.missing:  # one that is missing can have every cluster
        problems += _unknown_clusters(spec, present)
    if spec.clusters and not spec.kubeconfigs:
        changes.warnings.append(
            "clusters (overlay_kubeconfig_clusters) is set, but no kubeconfig is given: set kubeconfigs "
            "(overlay_kubeconfigs)"
        )
    return changes


def _read(path: str, required: bool) -> str | None:
    """Return the content of a kubeconfig; ``None`` if it is not there yet, as on a host that has not joined a cluster.

    :raises ValidationError: something else is in its place, or it is required.
    """
    try:
        if _is_missing(path, required):
            return None
        text = files.read_foreign(path)
        text.encode("utf-8")
    except OSError as error:
        raise ValidationError(f"kubeconfig {path} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError:
        # Not chained: the error holds a part of the file.
        raise ValidationError(f"kubeconfig {path} is not encoded in UTF-8") from None
    if not text.strip():
        raise ValidationError(
            f"kubeconfig {path} is empty, as after a loss of power: restore it, or remove it and join the cluster again"
        )
    return text


def _is_missing(path: str, required: bool) -> bool:
    """Whether there is nothing at the path of a kubeconfig.

    :raises ValidationError: it is required, or there is something that is no file.
    :raises OSError: it cannot be reached.
    """
    try:
        link = os.lstat(files.ROOT + path)
    except FileNotFoundError:
        if required:
            raise ValidationError(
                f"kubeconfig {path} is not there, and kubeconfigs_required (overlay_kubeconfigs_required) is set: join "
                f"the host to its cluster first, or correct the path in kubeconfigs (overlay_kubeconfigs)"
            ) from None
        return True
    if stat.S_ISLNK(link.st_mode) and not os.path.exists(files.ROOT + path):
        target = os.readlink(files.ROOT + path)
        raise ValidationError(
            f"kubeconfig {path} is a symbolic link to {target}, which leads to no file: correct or remove the link"
        )
    mode = os.stat(files.ROOT + path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise ValidationError(f"kubeconfig {path} is {kind}: correct the path in kubeconfigs (overlay_kubeconfigs)")
    return False


def _edit_of(config: Kubeconfig, selected: t.Sequence[KubeconfigCluster], url: str) -> FileEdit:
    before, after = (
        "".join(f"server of cluster {cluster.name}: {new or _present_server(cluster, url)}\n" for cluster in selected)
        for new in ("", url)
    )
    return FileEdit(config.path, config.text, config.with_server(selected, url), Diff(config.path, before, after))


def _present_server(cluster: KubeconfigCluster, url: str) -> str:
    """Return the server as it may be shown; with a note where it only differs in what may not, such as a password."""
    server = redacted_url(cluster.server.value)
    return f"{server} (and credentials)" if server == url != cluster.server.value else server


def _unknown_clusters(spec: EndpointSpec, present: t.Collection[str]) -> list[str]:
    """Return a problem if ``clusters`` has names that no kubeconfig has: a cluster would silently keep its server."""
    unknown = [name for name in spec.clusters if name not in present]
    if not unknown or not spec.kubeconfigs:
        return []
    text = (
        f"clusters (overlay_kubeconfig_clusters) names {', '.join(unknown)}, which no kubeconfig has: "
        f"{', '.join(spec.kubeconfigs)} have {', '.join(sorted(present))}; correct the name or remove it"
    )
    return [text]


def other_kubeconfigs(
    spec: EndpointSpec, hosts: FileEdit, edits: t.Sequence[FileEdit], clients: t.Sequence[TlsClient], run: Run
) -> list[str]:
    """Return a warning about kubeconfigs of this cluster that are not listed and have another server."""
    urls = [line.rpartition(": ")[2] for edit in edits for line in edit.diff.before.splitlines()]
    former = ({host_of(url) for url in urls} | names_in(hosts.diff.before)) - {spec.api_name, *spec.names, ""}
    authorities = [client.authority for client in clients if client.authority]
    others = find_others(spec.kubeconfigs, Expected(spec.url, former, authorities), run)
    if not others:
        return []
    text = (
        f"kubeconfigs of this cluster that do not lead to {spec.url}: {', '.join(others)}; add them to kubeconfigs "
        f"(overlay_kubeconfigs), or change them by hand"
    )
    return [text]


def server_addresses(urls: t.Iterable[str], hosts_text: str) -> list[str]:
    """Return the servers of kubeconfigs as ``address:port``, as far as their addresses are known without DNS.

    :param hosts_text: the content of /etc/hosts.
    """
    lines = [line.partition("#")[0].lower().split() for line in hosts_text.splitlines()]
    found = []
    for url in urls:
        name, port = host_of(url), port_of(url)
        literal = is_ipv4_address(name) or ":" in name
        addresses = [name] if literal else [words[0] for words in lines if name in words[1:]]
        found += [with_port(address, port) for address in addresses]
    return found


def _client_of(cluster: KubeconfigCluster, path: str, spec: EndpointSpec) -> TlsClient:
    origin = f"cluster {cluster.name} of {path}"
    pem = None if cluster.authority is None else read_authority(cluster.authority, origin, der=False)
    client = TlsClient(origin, pem, cluster.tls_name or spec.api_name, cluster.credentials)
    if pem is not None:
        tls_context(client)
    return client


def _warnings_of(cluster: KubeconfigCluster, path: str) -> t.Iterator[str]:
    """Yield what the check of the endpoint cannot see of the clients that use this cluster."""
    origin = f"cluster {cluster.name} of {path}"
    if cluster.insecure:
        yield (
            f"{origin} has insecure-skip-tls-verify: true, so it accepts the certificate of any server: set "
            f"certificate-authority instead"
        )
    elif cluster.authority is None:
        yield f"{origin} has no CA, so it trusts the CAs of the system"
    if cluster.proxy:
        yield (
            f"{origin} has the proxy-url {redacted_url(cluster.proxy)}, so its clients reach the API server through "
            f"that proxy, which is not checked"
        )
