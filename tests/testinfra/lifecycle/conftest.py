# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

from __future__ import annotations

import pytest

import howto
from day_two import as_new, inventory_of, not_as_new


@pytest.fixture(scope="module", autouse=True)
def a_fresh_fleet_afterwards():
    """The walk changes node CIDRs, addresses and the pool: the next scenario shall not see it."""
    yield
    if not_as_new():
        as_new()


@pytest.fixture
def story(request, tmp_path):
    """What the section says: its inventories as files, and its commands."""
    texts, commands = howto.section(request.param)
    return [inventory_of(text, tmp_path / str(number)) for number, text in enumerate(texts)], commands
