# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Measure `make demo` as on a fresh machine, on which no base tree is built: ``fresh_demo.py DIRECTORY [COMMIT...]``.

Runs the demo of this checkout, or of each COMMIT in turn (``.`` is this checkout), in a lab of its own with an empty
directory for the base trees, and prints a table. The Python environment is that of this checkout, because building
it takes as long before as after. ``trees`` is the time until all hosts run, ``demo`` that of the playbooks. Where the
machine has other work, compare the processor time; that of the hosts themselves is not in it.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

# Older commits do not read TKE_LAB_CACHE; the other modules of the lab take the value from this one.
LAB = """
import pathlib, sys
sys.path.insert(0, "tests/lab")
from tkelab import system
system.CACHE = pathlib.Path(sys.argv[1])
from tkelab.cli import main
sys.exit(main(sys.argv[2:]))
"""


class Spent(NamedTuple):
    """Seconds by the clock, and of the processor in all waited-for child processes."""

    wall: float
    processor: float

    def since(self, before: Spent) -> Spent:
        """Return the difference."""
        return Spent(self.wall - before.wall, self.processor - before.processor)


def now() -> Spent:
    """Return both clocks."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(time.monotonic(), used.ru_utime + used.ru_stime)


def checkout(directory: Path, commit: str) -> Path:
    """Return a clone of this repository at a commit."""
    place = directory / "checkout"
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(place)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=place, check=True)
    return place


def environment(place: Path) -> dict[str, str]:
    """Return what the Makefile exports, for a checkout."""
    return {
        **os.environ,
        "TKE_LAB": "fresh",
        "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": f"{place}/ansible.cfg",
        "ANSIBLE_COLLECTIONS_PATH": f"{place}/collections",
        "ANSIBLE_ROLES_PATH": f"{place}/roles",
        "ANSIBLE_HOME": f"{place}/.cache/ansible",
        "LC_ALL": "C.UTF-8",
    }


def measure(directory: Path, commit: str) -> tuple[Spent, Spent]:
    """Run the demo of a commit, and return what the lab and what the playbooks took."""
    place = ROOT if commit == "." else checkout(directory, commit)
    trees = directory / "trees"
    shutil.rmtree(trees, ignore_errors=True)
    log = directory / f"{'this' if commit == '.' else commit}.log"
    with log.open("w", encoding="utf-8") as stream:

        def lab(*words: str) -> None:
            command = ["/usr/bin/python3", "-c", LAB, str(trees), *words]
            done = subprocess.run(command, cwd=place, env=environment(place), stdout=stream, stderr=stream, check=False)
            if done.returncode:
                sys.exit(f"{commit}: {' '.join(words)} failed, see {log}")

        lab("down")
        begin = now()
        try:
            lab("up")
            built = now()
            lab("run", "python", "tests/lab/demo.py")
            end = now()
        finally:
            lab("down", "--purge")
    return built.since(begin), end.since(built)


def main() -> None:
    """Measure each commit and print one row for it as soon as it is known."""
    directory, commits = Path(sys.argv[1]).resolve(), sys.argv[2:] or ["."]
    directory.mkdir(parents=True, exist_ok=True)
    head = ("commit", "trees, s", "demo, s", "total, s", "processor, s", "load")
    print("  ".join(f"{word:>12}" for word in head), flush=True)
    for commit in commits:
        load = os.getloadavg()[0]
        trees, demo = measure(directory, commit)
        seconds = (trees.wall, demo.wall, trees.wall + demo.wall, trees.processor + demo.processor)
        print("  ".join([f"{commit[:12]:>12}", *(f"{value:12.0f}" for value in seconds), f"{load:12.1f}"]), flush=True)


if __name__ == "__main__":
    main()
