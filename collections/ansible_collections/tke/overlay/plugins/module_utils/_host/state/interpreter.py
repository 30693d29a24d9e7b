# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python interpreter of the programs that stay on a host."""

from __future__ import annotations

import sys

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python")
"""Interpreters of a distribution whose paths stay when it is upgraded, unlike ``/usr/bin/python3.11``."""


def stable_python(run: Run) -> str:
    """Return an interpreter whose path an upgrade of the distribution keeps, if it works.

    The interpreter that Ansible has found, such as ``/usr/bin/python3.11``, is used only where there is no such one.
    """
    for path in PYTHONS:
        if run((path, "-c", "import sys; sys.exit(sys.version_info < (3, 8))"), None)[0] == 0:
            return path
    return sys.executable
