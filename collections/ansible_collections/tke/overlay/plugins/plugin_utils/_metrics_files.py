# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of metrics on the controller, for the textfile collector of node_exporter.

Two clusters of one controller have different files, and so have two playbooks.
"""

from __future__ import annotations

import hashlib
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._metrics import CONTROLLER, FILES, Sample, render, write_file


class MetricsFiles:
    """The files of one cluster in a directory.

    :raises ValidationError: the directory is not there.
    """

    def __init__(self, directory: str, cluster: str) -> None:
        if not os.path.isdir(directory):
            raise ValidationError(
                f"overlay_controller_metrics_dir is {directory!r}, which is no directory on the controller: create it, "
                "or set the directory of node_exporter's textfile collector"
            )
        # The name of a cluster is any text on one line.
        self.name = cluster if re.fullmatch(r"[A-Za-z0-9._-]{1,60}", cluster) else _digest(cluster)
        self.directory = directory

    def path(self, name: str) -> str:
        """Return the path of a file; the name is empty, or that of a playbook."""
        return os.path.join(self.directory, FILES[CONTROLLER].format(cluster=f"{self.name}{name and f'_{name}'}"))

    def write(self, name: str, samples: t.Sequence[Sample]) -> str:
        """Replace a file atomically, and return its path.

        :raises ValidationError: it cannot be written.
        """
        path = self.path(name)
        try:
            write_file(self.directory, os.path.basename(path), render(samples))
        except OSError as error:
            raise ValidationError(
                f"{path} cannot be written: {error.strerror or error}; check overlay_controller_metrics_dir"
            ) from error
        return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
