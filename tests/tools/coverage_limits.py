# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Check the coverage of each package and of each file, in addition to the total.

``coverage_limits.py REPORT`` reads the file that ``coverage json`` writes and prints what lies below a limit:

- the branches of all files together, and of each package below ``module_utils``, such as ``_host/kernel``;
- the lines and branches of each file. This limit is lower, because parts of ``_host/probe`` and of
  ``_cluster/ledger/file`` run in processes that they fork, where coverage does not count.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

LEAST_OF_PACKAGE = 95  # per cent of the branches, also in total
LEAST_OF_FILE = 85  # per cent of lines and branches
TOP = "module_utils"


def package_of(name: str) -> str:
    """Return the package of a file, relative to ``module_utils``, which is itself the package of its own modules."""
    parts = PurePath(name).parts
    below = parts[parts.index(TOP) + 1 :]
    return "/".join(below[:-1]) or TOP


def branch_shares(files: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of the branches that the tests take, in per cent: of each package, and in total."""
    there: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for name, document in files.items():
        for package in (package_of(name), "total"):
            there[package] += document["summary"]["num_branches"]
            taken[package] += document["summary"]["covered_branches"]
    return {package: 100 * taken[package] / count for package, count in sorted(there.items()) if count}


def problems_of(files: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each package and each file below its limit, the lowest first."""
    shares = branch_shares(files)
    for share, package in sorted((share, package) for package, share in shares.items()):
        if share < LEAST_OF_PACKAGE:
            yield f"{package}: {share:.1f} % of the branches, less than {LEAST_OF_PACKAGE} %"
    of_files = ((document["summary"]["percent_covered"], name) for name, document in files.items())
    for share, name in sorted(of_files):
        if share < LEAST_OF_FILE:
            yield f"{name}: {share:.1f} % of lines and branches, less than {LEAST_OF_FILE} %"


def main() -> None:
    """Print the share of each package, then the problems; exit with 1 if there are any."""
    files = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["files"]
    if not files:
        sys.exit(f"{sys.argv[1]} lists no file: does --include match the tree?")
    for package, share in branch_shares(files).items():
        print(f"{share:6.1f} % of the branches of {package}")
    problems = list(problems_of(files))
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
