# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a Prometheus for the past day of a cluster."""

from __future__ import annotations

import http.client
import json
import time
import typing as t
import urllib.error
import urllib.parse

from ansible.module_utils.urls import open_url

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day import (
    MEASURES,
    SECONDS,
    STEP,
    PastDay,
    Series,
    query,
    series_of,
    timestamp,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

TIMEOUT = 10
"""Seconds for one query."""

MOST_BYTES = 1 << 20


def past_day(url: str, cluster: str) -> PastDay:
    """Return the past day. What prevents that is in it: the report is written nevertheless."""
    end = int(time.time())
    problem, series = None, list[Series]()
    try:
        series = [series_of(each, _answer(url, query(each, cluster), end)) for each in MEASURES]
    except ValidationError as error:
        problem = f"{url} (overlay_prometheus_url): {error}"
    return PastDay(
        source=url, begin=timestamp(end - SECONDS), end=timestamp(end), step=STEP, problem=problem, series=series
    )


def _answer(url: str, expression: str, end: int) -> t.Any:
    """Return the answer to one range query.

    :raises ValidationError: there is none; the reason is on one line.
    """
    fields = {"query": expression, "start": str(end - SECONDS), "end": str(end), "step": str(STEP)}
    target = f"{url.rstrip('/')}/api/v1/query_range"
    try:
        with open_url(target, data=urllib.parse.urlencode(fields), method="POST", timeout=TIMEOUT) as response:
            return json.loads(response.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        raise ValidationError(f"HTTP status {error.code}") from error
    except urllib.error.URLError as error:
        raise ValidationError(_on_one_line(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise ValidationError(_on_one_line(error)) from error
    except ValueError as error:  # no JSON
        raise ValidationError("the answer is none of Prometheus") from error


def _on_one_line(reason: t.Any) -> str:
    return " ".join(str(getattr(reason, "strerror", None) or reason).split())
