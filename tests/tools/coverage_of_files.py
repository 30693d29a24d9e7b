# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Whether the tests take enough of the branches of every single file, and not only of all together.

``coverage_of_files.py REPORT`` reads what ``coverage json`` has written. The limit is that of ``pyproject.toml``.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Name the files below the limit, the lowest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = settings["tool"]["coverage"]["report"]["fail_under"]
    files = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["files"]
    below = sorted(
        (document["summary"]["percent_covered"], name)
        for name, document in files.items()
        if document["summary"]["percent_covered"] < least
    )
    for share, name in below:
        print(f"{share:.1f} %, less than {least}: {name}", file=sys.stderr)
    sys.exit(bool(below))


if __name__ == "__main__":
    main()
