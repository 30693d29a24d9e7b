# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

from __future__ import annotations

import pytest

from stories import LEDGER, states


@pytest.fixture(scope="class")
def unchanged():
    """A test, or a class of them, that must leave every host and the ledger as they were."""
    before, record = states(), LEDGER.read_bytes()
    yield
    assert LEDGER.read_bytes() == record
    after = states()
    for name, lines in before.items():
        assert after[name] == lines, name
