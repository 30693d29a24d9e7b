# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

SCREENS = pathlib.Path(__file__).parent / "screens"


@pytest.fixture
def golden():
    """Return a function that reads the expected lines of a screen; the first character of a line is its tone."""
    return lambda name: (SCREENS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
