# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``ansible-test units`` has its own settings of pytest; these hold there, too."""

from __future__ import annotations

from hypothesis import settings

settings.load_profile("ci")  # hypothesis' own: no deadline, the same examples in every run
