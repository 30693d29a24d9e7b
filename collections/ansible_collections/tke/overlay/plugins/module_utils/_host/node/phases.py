# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the phases of a cutover, see :mod:`cutover`."""

from __future__ import annotations

FINALIZE, PREPARE, CUTOVER = PHASES = ("finalize", "prepare", "cutover")
