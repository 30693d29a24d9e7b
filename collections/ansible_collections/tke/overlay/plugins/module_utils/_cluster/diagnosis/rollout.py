# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: whether a roll-out goes on after a batch of hosts, and what is said of it."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Answers, Fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    count,
    first_line,
    some,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.verify import VerifyResult, judge


class Batch(t.NamedTuple):
    """The hosts of one batch, as far as they were reached; and those that were not touched yet."""

    changed: t.Mapping[str, bool]  # host -> whether anything was changed there
    failed: t.Mapping[str, str]  # host -> why it is not what the plan says
    left: t.Sequence[str]


def after(batch: Batch, fleet: Fleet, answers: t.Mapping[str, Answers]) -> VerifyResult:
    """The lines about a batch; a roll-out goes on if it is whole.

    :param answers: of the hosts of the batch that are what the plan says.
    """
    changed = len([host for host, changed in batch.changed.items() if changed])
    what = f"{some([*batch.changed, *batch.failed])}: {changed:,} of {len(batch.changed) + len(batch.failed):,} changed"
    lines = [Line(f"failed: {host}: {first_line(reason)}", BAD) for host, reason in sorted(batch.failed.items())]
    asked = any(told.rtt_ms or told.findings or told.failure or not told.reached for told in answers.values())
    nobody = VerifyResult(True, [Line("there is nobody yet whom they must reach", GOOD)], [])
    judged = judge(fleet, answers) if asked else nobody
    if judged.whole and not lines:
        left = f"; not touched yet: {some(batch.left)}" if batch.left else ""
        return VerifyResult(True, [Line(f"{what}{left}", GOOD), *judged.lines], [])
    stopped = f"stopped: {count(len(batch.left), 'host')} not touched: {some(batch.left)}" if batch.left else "stopped"
    again = "then the same command again: it goes on where this one has stopped"
    todo = [*["mend what failed"] * bool(lines), *judged.todo, again]
    return VerifyResult(False, [Line(what), *lines, *judged.lines, Line(stopped, BAD)], todo)
