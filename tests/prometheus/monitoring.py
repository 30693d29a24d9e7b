# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Keep alert rules, dashboard and the guide in step with the list of metrics of the collection (``_metrics.py``).

It writes the dashboard, and the tables of metrics and alerts in docs/monitoring.md. With ``--check`` it writes nothing,
and fails if something would change. It always fails if a rule or a panel uses a metric or a label that is not in the
list, or if a metric is used by none of them and :data:`UNUSED` does not say why.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashboard
import yaml

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tke/overlay"
sys.path.insert(0, str(COLLECTION.parents[2]))

from ansible_collections.tke.overlay.plugins.module_utils._metrics import METRICS, PREFIX, Metric  # noqa: E402

RULES = COLLECTION / "extensions/prometheus/tke-overlay.rules.yml"
DASHBOARD = COLLECTION / "extensions/grafana/tke-overlay.json"
PAGE = COLLECTION / "docs/monitoring.md"

UNUSED = {
    "probe_peer_round_trip_seconds": "of single peers, for a search by hand; the dashboard has the median by site",
}
"""Metrics that neither a rule nor a panel uses, and why."""

OF_OTHERS = {
    *("node_boot_time_seconds", "node_time_seconds"),
    *("node_network_receive_drop_total", "node_network_transmit_drop_total"),
    *("ALERTS", "up"),
}
"""Metrics of node_exporter and of Prometheus itself."""

ANNOTATIONS = {"summary", "cause", "remedy", "runbook_url"}
SEVERITIES = ("critical", "warning", "info")
TARGET_LABELS = {"job", "instance"}
GUIDE = "https://github.com/tke-overlay/tke.overlay/blob/main/collections/ansible_collections/tke/overlay/docs/"

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^]]*\]|[a-zA-Z_:][a-zA-Z0-9_:]*')
_CLAUSE = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHERS = re.compile(r"\{((?:[^}\"]|\"(?:[^\"\\]|\\.)*\")*)\}")
_FUNCTIONS = {
    *("sum", "count", "min", "max", "avg", "topk", "max_over_time", "increase", "rate", "time"),
    *("label_replace", "vector", "bool"),
    *("and", "or", "unless", "by", "on", "group_left"),
}


def metrics() -> dict[str, Metric]:
    """Return name -> metric of the list, with the prefix."""
    return {PREFIX + metric.name: metric for metric in METRICS}


def rules() -> list[dict[str, Any]]:
    """Return all rules, in their order."""
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def words_of(expression: str) -> tuple[set[str], set[str]]:
    """Return the names of metrics in a query, and its labels."""
    labels = {label.strip() for _clause, names in _CLAUSE.findall(expression) for label in names.split(",")}
    labels |= {name for inside in _MATCHERS.findall(expression) for name in re.findall(r"(\w+)\s*[=!]~?", inside)}
    rest = _MATCHERS.sub("", _CLAUSE.sub("", expression))
    found = {word for word in _WORD.findall(rest) if word[0] not in '"['}
    return found - _FUNCTIONS, labels - {""}


def problems() -> Iterator[str]:
    """Yield what is wrong with rules and dashboard."""
    listed, all_rules = metrics(), rules()
    recorded = {rule["record"] for rule in all_rules if "record" in rule}
    known_labels = {label for metric in listed.values() for label in metric.labels}
    known_labels |= TARGET_LABELS | {"from_site", "alertname", "alertstate"}
    used = set()
    sources = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in all_rules]
    sources += [("dashboard", query) for query in dashboard.queries()]
    for where, expression in sources:
        names, labels = words_of(expression)
        used |= names
        for name in sorted(names - listed.keys() - recorded - OF_OTHERS):
            yield f"{where}: the list of metrics has no {name}"
        for label in sorted(labels - known_labels):
            yield f"{where}: no metric has the label {label}"
    for name, metric in listed.items():
        if name not in used and metric.name not in UNUSED:
            yield f"{name} is used by no rule and no panel: use it, or add it to UNUSED with the reason"
        if name in used and metric.name in UNUSED:
            yield f"{name} is used: remove it from UNUSED"
    yield from problems_of_alerts(all_rules)


def problems_of_alerts(all_rules: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what an alert lacks: an annotation, a severity, a section of the guide that exists."""
    for rule in all_rules:
        if "record" in rule:
            continue
        name, annotations = rule["alert"], rule["annotations"]
        if set(annotations) != ANNOTATIONS:
            yield f"{name}: the annotations must be {', '.join(sorted(ANNOTATIONS))}"
        if rule["labels"].get("severity") not in SEVERITIES:
            yield f"{name}: the severity must be one of {', '.join(SEVERITIES)}"
        page, _hash, anchor = annotations["runbook_url"].removeprefix(GUIDE).partition("#")
        if not (COLLECTION / "docs" / page).is_file() or anchor not in anchors(COLLECTION / "docs" / page):
            yield f"{name}: {annotations['runbook_url']} is no section of a guide"


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


# --- the tables of the guide ---


def of_metrics() -> str:
    """Return a table of all metrics."""
    rows = [
        f"| `{name}` | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.type} | {metric.help} |\n"
        for name, metric in metrics().items()
    ]
    return "| metric | labels | type | meaning |\n|---|---|---|---|\n" + "".join(rows)


def of_alerts() -> str:
    """Return a table of all alerts."""
    rows = []
    for rule in rules():
        if "alert" in rule:
            link = rule["annotations"]["runbook_url"].removeprefix(GUIDE)
            cells = (
                f"[`{rule['alert']}`]({link})",
                rule["labels"]["severity"],
                str(rule.get("for", "at once")),
                " ".join(rule["annotations"]["cause"].split()),
            )
            rows.append(f"| {' | '.join(cells)} |\n")
    return "| alert | severity | after | cause |\n|---|---|---|---|\n" + "".join(rows)


def wanted(text: str) -> str:
    """Return the text of the guide with the present tables."""
    for name, table in (("metrics", of_metrics()), ("alerts", of_alerts())):
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> None:
    """Write the dashboard and the tables, or fail."""
    found = list(problems())
    check = "--check" in sys.argv[1:]
    for path, text in ((DASHBOARD, dashboard.text()), (PAGE, wanted(PAGE.read_text(encoding="utf-8")))):
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(f"{path.name} differs from the list of metrics or the rules: run 'make tables'")
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    if done.returncode:
        found.append(done.stdout + done.stderr)
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
