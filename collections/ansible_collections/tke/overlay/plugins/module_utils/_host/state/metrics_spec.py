# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether, where and how a host writes metrics. Every host needs this; :mod:`metrics`, only one that writes some."""

from __future__ import annotations

import errno
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    INVENTORY_NAME,
    INVENTORY_NAME_RULE,
    path_problems,
    shown,
)

PROBE_INTERVAL = 60
"""Default number of seconds between two rounds of the probe timer."""


class MetricsSpec(t.NamedTuple):
    """Where and how a host writes metrics; without a directory it writes none.

    ``sites`` maps names of nodes to their sites. ``python`` is the interpreter of the
    probe timer, ``cni_plugins`` are the plugins that Pods need, in one of ``cni_dirs``;
    the host finds these three out.
    """

    directory: str = ""
    probe_interval: int = PROBE_INTERVAL
    sites: t.Mapping[str, str] = {}
    python: str = ""
    cni_dirs: t.Sequence[str] = ()
    cni_plugins: t.Sequence[str] = ()

    def validated(self) -> MetricsSpec:
        """Return the specification itself.

        :raises ValidationError: names every invalid value, and a directory that this host does not have.
        """
        problems = []
        if self.directory:
            problems += directory_problems(self.directory)
            problems += range_problems(
                "probe_interval (overlay_probe_interval)", self.probe_interval, 10, 3600, "seconds"
            )
            problems += [
                f"sites: {shown(site)}: {INVENTORY_NAME_RULE}"
                for site in sorted(set(self.sites.values()))
                if not INVENTORY_NAME.fullmatch(site)
            ]
        if problems:
            raise ValidationError(*problems)
        return self


NO_METRICS = MetricsSpec()


def directory_of(given: str | None) -> str:
    """Return the directory that an option has, empty without one.

    :raises ValidationError: the option is an empty text.
    """
    if given == "":
        raise ValidationError("metrics_dir (overlay_metrics_dir) '' is empty: set a directory, or remove the line")
    return given or ""


def directory_problems(directory: str) -> list[str]:
    """Return one problem if a host cannot write metrics to this directory, none otherwise."""
    what = "metrics_dir (overlay_metrics_dir)"
    problems = path_problems(what, directory)
    if problems:
        return problems
    path = files.ROOT + directory
    if hangs(path):
        return [f"{what} {shown(directory)} does not answer on this host: remove that mount, or start its server"]
    if not os.path.isdir(path):
        state = "is not a directory" if os.path.lexists(path) else "does not exist"
        remedy = "install node_exporter with its textfile collector (prometheus-node-exporter), create the directory"
        return [f"{what} {shown(directory)} {state} on this host: {remedy}, or correct the variable"]
    if not os.access(path, os.W_OK):
        return [f"{what} {shown(directory)} cannot be written on this host: is it mounted read-only?"]
    return []


def hangs(path: str) -> bool:
    """Return whether the file system of a path does not answer in time, as NFS without its server."""
    from ansible_collections.tke.overlay.plugins.module_utils._metrics import (  # noqa: PLC0415 - see target.py
        call_bounded,
    )

    try:
        call_bounded(lambda: os.stat(path))
    except OSError as error:
        return error.errno == errno.ETIMEDOUT
    return False


def sites_of(names_by_site: t.Mapping[str, str]) -> dict[str, str]:
    """Return name of a node -> its site, from site -> names between spaces."""
    return {name: site for site, names in names_by_site.items() for name in names.split()}
