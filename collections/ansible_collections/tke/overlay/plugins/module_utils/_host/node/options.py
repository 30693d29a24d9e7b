# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run changes a host."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import Confirmation
from ansible_collections.tke.overlay.plugins.module_utils._host.node.applied_plan import NOTHING, Accepted
from ansible_collections.tke.overlay.plugins.module_utils._host.node.phases import FINALIZE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import INTERVAL
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import NO_METRICS, MetricsSpec


def _do_nothing() -> None:
    """Stand in for ``before_change`` of a run that needs no notice."""


class ConvergeOptions(t.NamedTuple):
    """How a run changes a host."""

    interval: int = INTERVAL
    """Seconds between two runs of the restore timer."""

    phase: str = FINALIZE
    """How far to go if other hosts must change as well, see :mod:`cutover`."""

    confirmation: Confirmation | None = None
    """How a change of the kernel's state is confirmed; ``None``: it is saved at once."""

    before_change: t.Callable[[], None] = _do_nothing
    """Called right before the first change of a confirmed commit."""

    accepted: Accepted = NOTHING
    """What may contradict the plan that the host has applied, see :mod:`applied_plan`."""

    replace_flannel: bool = False
    """Replace the routes of flannel to the peers."""

    unreached: t.Collection[str] = ()
    """Nodes that the phases before have not reached: this host sends to them as before, if a link has changed."""

    pods: bool = True
    """Whether the host has Pods, see :mod:`running_pods`."""

    cni_bin_dirs: t.Sequence[str] = ()
    """Where the container runtime looks for CNI plugins; empty: find out."""

    metrics: MetricsSpec = NO_METRICS
    """Where and how the host writes metrics."""


DEFAULTS = ConvergeOptions()
