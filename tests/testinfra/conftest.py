# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Fixtures of all scenarios."""

from __future__ import annotations

import pytest

import howto
from day_two import inventory_of
from stories import LEDGER, states


@pytest.fixture(scope="class")
def unchanged():
    """Check that a test, or a class of tests, changes neither a host nor the ledger."""
    before, record = states(), LEDGER.read_bytes()
    yield
    assert LEDGER.read_bytes() == record
    after = states()
    for name, lines in before.items():
        assert after[name] == lines, name


@pytest.fixture
def story(request, tmp_path):
    """Return the inventories of the section as files, and its commands."""
    texts, commands = howto.section(request.param)
    return [inventory_of(text, tmp_path / str(number)) for number, text in enumerate(texts)], commands
