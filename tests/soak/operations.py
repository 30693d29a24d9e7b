# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The operations of the soak, and the text in which they are printed."""

from __future__ import annotations

import dataclasses
import enum


class Kind(enum.StrEnum):
    """What an operation does. The first group changes the inventory and runs a playbook, the second does not."""

    ADD = "add"
    RELEASE = "release"
    READDRESS = "readdress"
    MOVE = "move"
    MTU = "mtu"
    CONVERGE = "converge"

    REBOOT = "reboot"
    CUT = "cut"
    HEAL = "heal"
    CUT_SITE = "cut-site"
    HEAL_SITE = "heal-site"
    STOP_TIMER = "stop-timer"
    FILL_DISK = "fill-disk"


PLAYED = frozenset({Kind.ADD, Kind.RELEASE, Kind.READDRESS, Kind.MOVE, Kind.MTU, Kind.CONVERGE})
"""Kinds that run a playbook, so that the run can be killed."""

SHARED = frozenset({Kind.ADD, Kind.RELEASE, Kind.MTU, Kind.CONVERGE})
"""Kinds that two controllers may do at once. The others are cutovers, for which the guide asks for one run."""

OF_A_HOST = frozenset(Kind) - {Kind.MTU, Kind.CONVERGE, Kind.CUT_SITE, Kind.HEAL_SITE}
"""Kinds whose target is a host; the target of the others is a site, or nothing."""


@dataclasses.dataclass(frozen=True)
class Kill:
    """A SIGKILL of the run at a task, see tests/kills/callbacks. ``host`` is where the module dies, if not the run."""

    task: int
    how: str
    host: str = ""

    def __str__(self) -> str:
        where = f" on {self.host}" if self.how == "module" else ""
        return f"killed at task {self.task}, {self.how}{where}"


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation.

    ``target`` is a host or a site, ``value`` the MTU or the site to which a host moves. ``kill`` interrupts the run,
    and ``beside`` is what a second controller does at the same time.
    """

    kind: Kind
    target: str = ""
    value: str = ""
    kill: Kill | None = None
    beside: Operation | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the run may end half-way, so that it has to be repeated."""
        return self.kill is not None or self.beside is not None

    def parts(self) -> tuple[Operation, ...]:
        """Return the operation, and the one beside it."""
        return (self,) if self.beside is None else (self, self.beside)

    def hosts(self) -> set[str]:
        """Return the hosts that the operation touches itself: their Pods may lose packets."""
        killed = {self.kill.host} - {""} if self.kill else set()
        return killed | {part.target for part in self.parts() if part.kind in OF_A_HOST}

    def names(self) -> list[str]:
        """Return the names under which the operation is counted."""
        more = [name for name, found in (("killed", self.kill), ("second controller", self.beside)) if found]
        return [*(str(part.kind) for part in self.parts()), *more]

    def __str__(self) -> str:
        words = " ".join(filter(None, (self.kind, self.target, self.value)))
        words += f" ({self.kill})" if self.kill else ""
        return words + (f", and at once {self.beside}" if self.beside else "")
