# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that manage one kernel table."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay._bulk."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - With V(present), the entries exist as given.
      - With V(absent), they do not exist, whatever their destination is. In an FDB, a group MAC can have several
        destinations, so only the entry with the given destination is removed.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - With O(state=present), remove all managed entries that are not listed.
      - A blackhole route has no device, so it cannot be attributed to this task; remove it with O(state=absent).
    type: bool
    default: false
"""
