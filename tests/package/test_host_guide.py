# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The guide's table of what is on a host and what puts it back is complete: its rows are compared with the code."""

from __future__ import annotations

import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import cleanup
from ansible_collections.tke.overlay.plugins.module_utils._host.files import RUN_DIRECTORY
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel import nftables
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import config
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import status as pair
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state import paths
from product import COLLECTION

SECTION = "## What is put back, and where drift shows\n"


def rows():
    """Return the cells of each row of the table."""
    text = (COLLECTION / "docs/hosts.md").read_text().partition(SECTION)[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == ["on the host", "put back by", "drift shows"]
    return lines[1:]


def named(column):
    """Return what the cells of a column name in backquotes."""
    return {word for cells in rows() for word in re.findall(r"`([^`]+)`", cells[column])}


def test_the_table_names_every_file_of_the_code_and_no_other():
    files = {*reset.FILES, *cleanup.FILES, *pair.FILES, cleanup.HOSTS_FILE, RUN_DIRECTORY, config.RUN_DIRECTORY}
    assert {word for word in named(0) if word.startswith("/")} == files


def test_the_table_names_every_unit_and_table():
    words = named(0)
    assert {paths.SERVICE, paths.TIMER, *config.UNITS} <= words
    assert {f"inet {nftables.TABLE.split()[-1]}", config.TABLE} <= words


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0][:40])
def test_every_row_says_what_puts_it_back_and_where_drift_shows(cells):
    assert len(cells) == 3
    assert all(cells)


def test_only_timers_services_and_playbooks_put_things_back():
    known = {paths.TIMER, paths.SERVICE, config.TIMER_UNIT, "tke.overlay.site"}
    assert named(1) == known
