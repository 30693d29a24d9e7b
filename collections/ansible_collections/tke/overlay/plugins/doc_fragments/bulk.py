# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that keep one kernel table."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay.bulk."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - With V(present) the entries are there as given.
      - With V(absent) they are not, whatever they point to (in an FDB, a group MAC is known by its destination too).
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - With O(state=present), remove all entries that are ours and not listed.
      - A blackhole route has no device by which it would be known as this task's, so it goes with O(state=absent) only.
    type: bool
    default: false
"""
