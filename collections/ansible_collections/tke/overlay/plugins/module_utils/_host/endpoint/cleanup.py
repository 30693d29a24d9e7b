# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: what :mod:`endpoint` leaves on a host, and how that is taken away.

Apart from it, because a node that is reset must not load all that asks an endpoint: TLS, HTTP and kubeconfigs.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import etc_hosts as hostsfile
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import BATCH_FILE, ApiRoute, find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ENDPOINT_NOTE

HOSTS_FILE = "/etc/hosts"


class FileEdit(t.NamedTuple):
    """A file of somebody else, as it is and as it should be, and what of that may be shown."""

    path: str
    before: str
    after: str
    diff: Diff


def hosts_edit(path: str, names: t.Mapping[str, str]) -> FileEdit:
    """What makes a file of names hold the block of these, or none of ours without names.

    :raises ValidationError: the file cannot be read, or a line of others contradicts.
    """
    try:
        before = files.read_foreign(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not names:
            return FileEdit(path, "", "", Diff(path, "", ""))
        raise ValidationError(f"{path} cannot be read: {error.strerror}") from error
    after = hostsfile.with_block(path, before, names)
    return FileEdit(path, before, after, Diff(path, hostsfile.our_lines(path, before), hostsfile.block(names)))


def rewrite(edit: FileEdit, backup: bool = False) -> str:
    """Makes the file so; returns the path of the backup, if there was something to change and one was wanted."""
    if edit.before == edit.after:
        return ""
    return files.rewrite_foreign(edit.path, edit.before, edit.after, backup)


class EndpointRemains(t.NamedTuple):
    """What is there of all this, and is ours. A kubeconfig is not: only its owner knows another server for it."""

    way: ApiRoute
    hosts: FileEdit
    notes: list[str]

    def lines(self) -> list[str]:
        """A line for each thing that goes."""
        routes = [f"route {self.way.present}"] if self.way.present else []
        names = [
            f"{self.hosts.path}: {line}" for line in self.hosts.diff.before.splitlines() if not line.startswith("#")
        ]
        return [*routes, *names, *self.notes]


def find_remains(hosts_file: str, run: Run) -> EndpointRemains:
    """What :func:`remove` would take away."""
    saved = files.read_files([BATCH_FILE, ENDPOINT_NOTE])
    return EndpointRemains(
        find_route(saved.get(BATCH_FILE, ""), None, None, run), hosts_edit(hosts_file, {}), sorted(saved)
    )


def remove(remains: EndpointRemains, run: Run) -> None:
    """Takes the route, the block of names and our notes away."""
    remains.way.put(run)
    rewrite(remains.hosts)
    for path in remains.notes:
        files.remove_file(path)
