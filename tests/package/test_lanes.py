# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of tests/tools/lanes.sh with a program in the place of make."""

from __future__ import annotations

import subprocess
import time

import pytest

from product import ROOT

LANES = ROOT / "tests/tools/lanes.sh"
MAKE = """#!/bin/sh
target=$2
case $target in
bad) exit 3 ;;
endless) exec sleep 600 ;;
meet*) touch "$target"; until [ -e meet1 ] && [ -e meet2 ]; do sleep 0.01; done ;;
esac
echo "nice $(nice)"
echo "end of $target"
"""


@pytest.fixture
def lanes(tmp_path):
    """Return a function that runs lanes; each is a text with the names of targets."""
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)

    def run(*targets):
        command = [LANES, "./make", *targets]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_lanes_run_at_the_same_time_and_each_in_its_order(lanes):
    done = lanes("meet1 a", "meet2 b")
    assert (done.returncode, done.stderr) == (0, "")
    blocks = [block.splitlines() for block in done.stdout.split("\n=== ")[1:]]
    order = [block[0].partition(",")[0] for block in blocks]
    assert sorted(order) == ["a", "b", "meet1", "meet2"]
    assert order.index("meet1") < order.index("a")
    assert order.index("meet2") < order.index("b")
    assert [block[2] for block in blocks] == [f"end of {name}" for name in order], "the output of each is a block"
    level = {name: int(block[1].split()[1]) for name, block in zip(order, blocks, strict=True)}
    assert level["meet2"] == level["b"] == min(level["a"] + 5, 19)


@pytest.mark.parametrize("targets", [("a bad b", "endless"), ("endless", "a bad b")])
def test_the_first_target_that_fails_ends_all_lanes(lanes, targets):
    begin = time.monotonic()
    done = lanes(*targets)
    assert done.returncode == 3
    assert "=== FAILED: bad, " in done.stdout
    assert "end of b" not in done.stdout
    assert time.monotonic() - begin < 30
