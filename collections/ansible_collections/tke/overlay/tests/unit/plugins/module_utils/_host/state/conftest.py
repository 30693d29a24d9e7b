# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with its own directory for its files, and programs that only record how they are called."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files


class Recorder:
    """A run that records the commands, and returns the same result for each."""

    def __init__(self, code=0, out="", errors=""):
        self.result, self.lines = (code, out, errors), []

    def __call__(self, command, text):
        self.lines.append(" ".join(command))
        return self.result


@pytest.fixture
def recorder():
    """The class of runs that record their commands: ``recorder(code, out, errors)``."""
    return Recorder


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """The directory of the files of the host."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path
