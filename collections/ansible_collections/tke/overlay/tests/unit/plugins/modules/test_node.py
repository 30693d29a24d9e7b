# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node: what it tells the controller of the time in which a change must be confirmed."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkChange
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import NodeResult
from ansible_collections.tke.overlay.plugins.modules import node

PARAMETERS = {
    **{name: option.get("default") for name, option in node.ARGUMENTS.items()},
    "name": "me",
    "metrics_dir": None,
}


@pytest.mark.parametrize("seconds", [60.0, None])
def test_checks_of_pods_take_of_the_time_to_confirm(monkeypatch, seconds):
    now = [100.0]

    def check(*_):
        now[0] += 7
        return []

    pending = NodeResult(LinkChange({}, {}, []), {}, [], [], [], systemd=True, seconds_to_confirm=seconds)
    monkeypatch.setattr(node, "document_of", lambda _: {})
    monkeypatch.setattr(node, "converge", lambda *_: pending)
    monkeypatch.setattr(node, "_checked_pods", check)
    monkeypatch.setattr(node, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    module = types.SimpleNamespace(params=PARAMETERS, check_mode=False, _diff=False)
    result = node.present(module, None)
    assert result.get("seconds_to_confirm") == (seconds and seconds - 7)
