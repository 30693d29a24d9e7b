# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Print the alert rules of the collection with all times divided by a factor: ``faster_rules.py 20``.

With the intervals of the timers and of Prometheus divided by the same factor, alerts fire as they do in
production, only sooner. Divided are ``for``, the ranges in brackets, and the limits of ages (``time() - x > 600``,
``x:age_seconds > 600``).
"""

from __future__ import annotations

import re
import sys

import monitoring

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def faster(text: str, factor: float) -> str:
    """Return the rules with all times divided by a factor."""

    def divided(match: re.Match[str]) -> str:
        seconds = int(match["number"]) * UNITS[match["unit"]] / factor
        return f"{match['before']}{seconds * 1000:.0f}ms{match['after']}" if seconds % 1 else _whole(match, seconds)

    def limit(match: re.Match[str]) -> str:
        return f"{match[1]}{float(match[2]) / factor:g}"

    text = re.sub(r"(?P<before>\bfor: |\[)(?P<number>\d+)(?P<unit>[smhd])(?P<after>\]|$)", divided, text, flags=re.M)
    ages = r"(?:time\(\)|_timestamp_seconds|node_time_seconds|:age_seconds)[^><\n]*"
    return re.sub(rf"({ages} [<>] )(\d+)", limit, text)


def _whole(match: re.Match[str], seconds: float) -> str:
    return f"{match['before']}{seconds:.0f}s{match['after']}"


if __name__ == "__main__":
    print(faster(monitoring.RULES.read_text(encoding="utf-8"), float(sys.argv[1])), end="")
