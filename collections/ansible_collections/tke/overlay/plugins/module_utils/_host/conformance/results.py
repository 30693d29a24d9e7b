# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of the paths: how many tests each had, what failed, and why a path was not asked."""

from __future__ import annotations

import typing as t

PATHS = (
    "pod",
    "mtu",
    "service",
    "clusterip",
    "dns",
    "api",
    "hostport",
    "hairpin",
    "outside",
    "webhook",
)
"""The paths, in the order of the screen."""


class PathFailure(t.NamedTuple):
    """A test that failed: the peer or the target, and the reason."""

    target: str
    text: str


class PathResult(t.NamedTuple):
    """One path on one host. ``reason`` says what was not asked, and why."""

    path: str
    asked: int
    failed: t.Sequence[PathFailure]
    reason: str = ""


class PathTests:
    """Collects the tests of one path."""

    def __init__(self, path: str) -> None:
        self._path, self._asked = path, 0
        self._failed: list[PathFailure] = []

    def add(self, target: str, fault: str) -> None:
        """Record a test; without a fault it has passed."""
        self._asked += 1
        if fault:
            self._failed.append(PathFailure(target, fault))

    def result(self, reason: str = "") -> PathResult:
        """Return the result.

        :param reason: what was not asked, and why.
        """
        return PathResult(self._path, self._asked, self._failed, reason)


def not_asked(path: str, reason: str) -> PathResult:
    """Return the result of a path that this host did not ask."""
    return PathResult(path, 0, [], reason)
