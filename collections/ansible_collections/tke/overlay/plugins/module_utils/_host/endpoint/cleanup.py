# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find and remove what the module ``api_endpoint`` has configured on a host, /etc/hosts included.

This is apart from ``converge``, because the reset of a node must not load what checks
an endpoint: TLS, HTTP and kubeconfigs.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import etc_hosts
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import ApiRoute, find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ENDPOINT_BATCH,
    ENDPOINT_CHECKSUMS,
    ENDPOINT_HOSTS,
    ENDPOINT_NOTE,
    ENDPOINT_SERVERS,
    KUBECONFIG_RECORD,
)

HOSTS_FILE = "/etc/hosts"

FILES = (ENDPOINT_BATCH, ENDPOINT_HOSTS, ENDPOINT_NOTE, ENDPOINT_SERVERS, ENDPOINT_CHECKSUMS)
"""Every file of an endpoint that this collection writes as a whole."""


class FileEdit(t.NamedTuple):
    """A foreign file as it is and as it should be. ``diff`` is the part of the difference that may be shown."""

    path: str
    before: str
    after: str
    diff: Diff


def hosts_edit(path: str, names: t.Mapping[str, str]) -> FileEdit:
    """Return the edit that makes the managed block of a file hold these names, or removes it if there are none.

    :param names: name -> address.
    :raises ValidationError: the file cannot be read, or a foreign line gives a name another address.
    """
    try:
        before = files.read_foreign(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not names:
            return FileEdit(path, "", "", Diff(path, "", ""))
        raise ValidationError(f"{path} cannot be read: {error.strerror}") from error
    after = etc_hosts.with_block(path, before, names)
    return FileEdit(path, before, after, Diff(path, etc_hosts.find_block(path, before), etc_hosts.render_block(names)))


def rewrite(edit: FileEdit, backup: bool = False) -> str:
    """Apply an edit.

    :returns: the path of the backup; empty if there is none or nothing to change.
    """
    if edit.before == edit.after:
        with contextlib.suppress(OSError):
            files.remove_unfinished(edit.path)
        return ""
    return files.rewrite_foreign(edit.path, edit.before, edit.after, backup)


class EndpointRemains(t.NamedTuple):
    """What of an endpoint is on this host and managed by this collection.

    Kubeconfigs are not among it: only their owner knows which server they should have instead.
    """

    route: ApiRoute
    hosts: FileEdit
    saved_files: list[str]

    def lines(self) -> list[str]:
        """Return a line for each object that will be removed."""
        routes = [f"route {self.route.present}"] if self.route.present else []
        names = [
            f"{self.hosts.path}: {line}" for line in self.hosts.diff.before.splitlines() if not line.startswith("#")
        ]
        return [*routes, *names, *self.saved_files]


def find_remains(hosts_file: str, run: Run) -> EndpointRemains:
    """Return what :func:`remove` would remove."""
    saved = files.read_files([*FILES, KUBECONFIG_RECORD])
    route = find_route(saved.get(ENDPOINT_BATCH, ""), None, None, run)
    return EndpointRemains(route, hosts_edit(hosts_file, {}), sorted(saved))


def remove(remains: EndpointRemains, run: Run) -> None:
    """Remove the route, the managed block and the files of the endpoint. The caller holds the lock.

    The files are last: if this is interrupted, the next run finds by them what is left. The restore script, which would
    put the others back from them, waits for the lock.
    """
    remains.route.put(run)
    rewrite(remains.hosts)
    for path in remains.saved_files:
        files.remove_file(path)
