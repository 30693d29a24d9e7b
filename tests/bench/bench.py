#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Measure speed and size, and compare the figures with their limits.

Both figures of a ratio are measured in the same run on the same machine, in turns. Exits with 1 if a limit is exceeded
or a section cannot be measured. `make bench` and `make bench-compare` run it through tests/bench/compare.py, which
prints one table of all sections.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections"), str(ROOT / "tests" / "lab")]

from tests.bench.report import BenchError, Section, as_data, table  # noqa: E402  # found by the line above
from tkelab.system import LabError  # noqa: E402

SECTIONS = ("throughput", "links", "peers", "mixed", "ledger", "clb", "fleet", "adding", "scale")
DEFAULT = tuple(name for name in SECTIONS if name != "scale")
"""Without ``scale``, which takes hours."""


def main() -> int:
    """Run the sections of the command line, one after the other, and return the exit code."""
    modules = {name: importlib.import_module(f"tests.bench.{name}") for name in SECTIONS}
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sections:\n" + "\n".join(f"  {name:<12} {module.ABOUT}" for name, module in modules.items()),
    )
    parser.add_argument("section", nargs="*", metavar="section", help="which to run (default: all but scale)")
    parser.add_argument("--inventory", action="store_true", help="print the further nodes for section fleet, and exit")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the values to FILE as well, as JSON")
    options = parser.parse_args()
    if options.inventory:
        print(modules["fleet"].inventory())
        return 0
    wanted = options.section or list(DEFAULT)
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")

    # SIGTERM raises SystemExit, so that the sections restore the lab.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    print(machine())
    failed, saved = False, {}
    for name in wanted:
        start = time.monotonic()
        print(f"\n{name}: {modules[name].ABOUT}", flush=True)
        try:
            section: Section = modules[name].run()
        except (BenchError, LabError, OSError, subprocess.SubprocessError) as error:
            print(f"  could not be measured: {error}", flush=True)
            failed = True
            continue
        show(name, section, time.monotonic() - start)
        failed |= any(measure.missed for measure in section.measures)
        saved[name] = as_data(section.measures)
    if options.save:
        options.save.write_text(json.dumps(saved))
    return 1 if failed else 0


def show(name: str, section: Section, seconds: float) -> None:
    """Print the table and the notes of a section."""
    print()
    print("\n".join(f"  {line}" for line in table({name: section.measures}, "here").splitlines()))
    print()
    for note in section.notes:
        print(f"  - {note}")
    print(f"  - took {seconds:.0f} s", flush=True)


def machine() -> str:
    """Return the description of the machine, which is necessary to judge the figures."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {load:.1f} at the start"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
