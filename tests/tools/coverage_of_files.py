# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Whether the tests take enough of the branches of every single file, and not only of all together.

``coverage_of_files.py REPORT`` reads what ``coverage json`` has written. The limit of all together is in
``pyproject.toml``; that of one file is lower, because some of ``answer`` and ``store_file`` runs in processes that they
fork, where nobody counts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LEAST = 85  # per cent of a file


def main() -> None:
    """Name the files below the limit, the lowest first."""
    files = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["files"]
    below = sorted(
        (document["summary"]["percent_covered"], name)
        for name, document in files.items()
        if document["summary"]["percent_covered"] < LEAST
    )
    for share, name in below:
        print(f"{share:.1f} %, less than {LEAST}: {name}", file=sys.stderr)
    sys.exit(bool(below))


if __name__ == "__main__":
    main()
