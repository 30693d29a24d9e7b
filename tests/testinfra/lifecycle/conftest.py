# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

from __future__ import annotations

import pytest

from day_two import as_new, not_as_new


@pytest.fixture(scope="module", autouse=True)
def restore_a_fresh_fleet():
    """The tests change node CIDRs, addresses and the pool; the next scenario needs a fresh fleet."""
    yield
    if not_as_new():
        as_new()
