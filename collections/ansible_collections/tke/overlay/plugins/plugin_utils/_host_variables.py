# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of one host, as a task on that host would read them.

An entry of Ansible's ``hostvars`` evaluates templates without ``hostvars`` itself, so a value such as
``{{ hostvars[inventory_hostname].private_ip }}``, which works in a task of that host, is undefined in
``hostvars[host]``.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar


def variables_of(hostvars: t.Any, host: str) -> Mapping[str, t.Any]:
    """Return the variables of a host, evaluated one by one when they are read.

    :param hostvars: those of a task; or a plain dictionary, whose values are used as they are.
    """
    return _HostVariables(hostvars, host) if hasattr(hostvars, "raw_get") else hostvars[host]


def plain(value: t.Any) -> t.Any:
    """Return a value with plain lists and dictionaries: those of Ansible evaluate templates when they are read."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if getattr(value, "__ENCRYPTED__", False):  # a value of "!vault", which is no str in ansible-core 2.18
        return str(value)
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


class _HostVariables(Mapping[str, t.Any]):
    """Evaluates a template a second time, with ``hostvars``, only where the entry of ``hostvars`` cannot."""

    def __init__(self, hostvars: t.Any, host: str) -> None:
        self._hostvars, self._host = hostvars, host
        self._entry: Mapping[str, t.Any] = hostvars[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry)

    def __len__(self) -> int:
        return len(self._entry)

    def __contains__(self, name: object) -> bool:
        return name in self._entry

    def __getitem__(self, name: str) -> t.Any:
        if name not in self._entry:
            raise KeyError(name)
        try:
            value = plain(self._entry[name])
        except Exception:  # a template can raise anything
            again, raw = self._with_hostvars(name)
            if again == raw:
                raise
            return again
        # ansible-core 2.18 returns a template with an undefined variable as it is.
        if not (isinstance(value, str) and "{{" in value):
            return value
        again, raw = self._with_hostvars(name)
        return again if value == raw else value

    def _with_hostvars(self, name: str) -> tuple[t.Any, t.Any]:
        """Return the value evaluated with ``hostvars``, and its template."""
        raw = self._hostvars.raw_get(self._host)  # slow
        templar = Templar(loader=DataLoader(), variables={**raw, "hostvars": self._hostvars})
        return plain(templar.template(raw.get(name))), raw.get(name)
