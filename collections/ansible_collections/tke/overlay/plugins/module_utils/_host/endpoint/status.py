# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drift of the API endpoint on a host: how files, names, route and kubeconfigs differ from what was applied.

What was applied is saved on the host itself, so drift is found without the
specification. Nothing is changed, and no server is contacted.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import FILES, HOSTS_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.etc_hosts import find_block
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import (
    parse_kubeconfig,
    redacted_url,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import managed_routes
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import file_drift
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ENDPOINT_BATCH,
    ENDPOINT_CHECKSUMS,
    ENDPOINT_HOSTS,
    ENDPOINT_NOTE,
    ENDPOINT_SERVERS,
)


def server_lines(path: str, text: str, clusters: t.Collection[str]) -> list[str]:
    """Return a line for :data:`ENDPOINT_SERVERS` for each selected cluster of a kubeconfig: path, cluster, server."""
    selected = parse_kubeconfig(path, text, clusters).select(clusters)
    return [json.dumps([path, cluster.name, redacted_url(cluster.server.value)]) for cluster in selected]


def missing_line(path: str, clusters: t.Collection[str], url: str) -> str:
    """Return the line for a kubeconfig that is not there yet: the clusters are a list, empty for the only cluster."""
    return json.dumps([path, list(clusters), url])


def endpoint_notes() -> t.Iterator[str]:
    """Yield a sentence for each kubeconfig that was not there, and is not or leads to another server.

    :raises KernelError: a file of the collection cannot be read.
    """
    for line in files.read_files([ENDPOINT_SERVERS]).get(ENDPOINT_SERVERS, "").splitlines():
        path, clusters, wanted = _parsed(line)
        if isinstance(clusters, list):
            yield from _note_about(path, clusters, wanted)


def _note_about(path: str, clusters: list[str], wanted: str) -> t.Iterator[str]:
    try:
        selected = parse_kubeconfig(path, files.read_foreign(path), clusters).select(clusters)
    except FileNotFoundError:
        yield f"kubeconfig {path} is not there yet"
    except (OSError, ValidationError):
        yield f"kubeconfig {path} is there now: run tke.overlay.site, which checks it"
    else:
        others = sorted({redacted_url(each.server.value) for each in selected} - {wanted})
        if others:
            servers = ", ".join(others)
            yield f"kubeconfig {path} is there now, with the server {servers}: run tke.overlay.site to change it"


def _parsed(line: str) -> t.Any:
    """Return path, cluster and server of a line; for a damaged one, which the checksums show, nothing."""
    try:
        path, clusters, server = json.loads(line)
    except (ValueError, TypeError):
        return None, None, None
    return path, clusters, server


def endpoint_drift(run: Run) -> t.Iterator[str]:
    """Yield a sentence for each difference from what the module api_endpoint has applied.

    :raises KernelError: a file of the collection cannot be read.
    """
    saved = files.read_files(FILES)
    if set(saved) <= {ENDPOINT_NOTE}:  # an operator may write this file without a load balancer
        yield from _left_over_block()
        return
    yield from file_drift(ENDPOINT_CHECKSUMS, FILES)
    yield from _block_drift(saved.get(ENDPOINT_HOSTS, ""))
    yield from _route_drift(saved.get(ENDPOINT_BATCH, ""), run)
    yield from _server_drift(saved.get(ENDPOINT_SERVERS, ""))


def _left_over_block() -> t.Iterator[str]:
    try:
        block = find_block(HOSTS_FILE, files.read_foreign(HOSTS_FILE))
    except (OSError, ValidationError):
        return
    if block:
        yield f"file {ENDPOINT_HOSTS}: missing, so the block in {HOSTS_FILE} is not put back when it is lost"


def _block_drift(saved: str) -> t.Iterator[str]:
    path, _line, block = saved.partition("\n")
    if not path:
        return
    path = path[len(files.ROOT) :]
    try:
        present = find_block(path, files.read_foreign(path))
    except OSError as error:
        yield f"{path}: cannot be read: {error.strerror}"
    except ValidationError as error:
        yield from error.problems
    else:
        if present != block:
            yield f"{path}: the block of tke.overlay is {'changed' if present else 'missing'}"


def _route_drift(batch: str, run: Run) -> t.Iterator[str]:
    words = batch.split()
    if words[:2] != ["route", "replace"]:
        return
    wanted = " ".join(words[2:]).partition(" proto ")[0]
    present = managed_routes(words[2], run)
    if wanted not in present:
        yield f"route {words[2]}: {'changed' if present else 'missing'}, should be {wanted}"


def _server_drift(text: str) -> t.Iterator[str]:
    for line in text.splitlines():
        path, name, wanted = _parsed(line)
        if not isinstance(name, str):  # damaged, or not there yet
            continue
        try:
            (cluster,) = parse_kubeconfig(path, files.read_foreign(path), [name]).select([name])
        except OSError as error:
            yield f"kubeconfig {path}: cannot be read: {error.strerror}"
        except ValidationError as error:
            yield from error.problems
        else:
            server = redacted_url(cluster.server.value)
            if server != wanted:
                yield f"kubeconfig {path}: the server of cluster {name} is {server}, not {wanted}"
