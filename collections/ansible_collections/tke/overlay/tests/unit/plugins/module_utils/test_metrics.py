# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the list of metrics, of the text format, and of the writer that replaces a file in one step."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel import link_rules
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import COUNTERS
from ansible_collections.tke.overlay.plugins.module_utils._metrics import (
    COUNTER,
    DROP_REASONS,
    FILES,
    GAUGE,
    METRICS,
    Sample,
    call_bounded,
    render,
    write_bounded,
    write_file,
)

VALUES = {"node": "a", "node_cidr": "10.244.0.0/24", "site": "cloud", "version": "1.0.0", "plan": "0123"}


def info(cluster):
    return Sample("info", 1, {"cluster": cluster, **VALUES})


def unescaped(text):
    """Return a label value as Prometheus reads it."""
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_keep_to_the_conventions(metric):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name)
    assert metric.type in (GAUGE, COUNTER)
    assert metric.name.endswith("_total") == (metric.type == COUNTER)
    assert not re.search(r"_(count|sum|bucket|gauge|counter)$|(^|_)(ms|mb|kb)(_|$)", metric.name)
    if metric.unit:
        assert metric.name.endswith(f"_{metric.unit}")
    assert metric.help.endswith(".")
    assert "\n" not in metric.help
    assert metric.writer in FILES
    assert set(metric.values) <= set(metric.labels)


def test_no_metric_is_listed_twice():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))


def test_the_reasons_are_the_counters_of_the_rules():
    assert (*COUNTERS, *link_rules.COUNTERS) == DROP_REASONS


@given(st.text(max_size=40))
def test_any_label_value_is_read_as_it_was_written(cluster):
    (line,) = [line for line in render([info(cluster)]).split("\n") if line and line[0] != "#"]
    found = re.match(r'tke_overlay_info\{cluster="((?:[^"\\]|\\.)*)",node=', line, re.DOTALL)
    assert unescaped(found[1]) == cluster


def test_the_text_is_sorted_and_has_no_timestamps():
    samples = [Sample("peers", 3), Sample("link_up", True, {"device": "b"}), Sample("link_up", False, {"device": "a"})]
    lines = render(samples).splitlines()
    assert [line for line in lines if line[0] != "#"] == [
        'tke_overlay_link_up{device="a"} 0',
        'tke_overlay_link_up{device="b"} 1',
        "tke_overlay_peers 3",
    ]
    assert lines[1] == "# TYPE tke_overlay_link_up gauge"
    assert render(samples) == render(reversed(samples))


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (1e-05, "1e-05"), (1795944834.0, "1795944834"), (-1, "-1")]
)
def test_numbers_are_written_without_loss(value, text):
    assert render([Sample("peers", value)]).endswith(f"tke_overlay_peers {text}\n")


@pytest.mark.parametrize(
    "samples",
    [
        [Sample("no_such_metric", 1)],
        [Sample("peers", 1, {"site": "cloud"})],
        [Sample("link_up", 1)],
        [Sample("peers", 1), Sample("peers", 2)],
    ],
    ids=["unknown", "surplus label", "missing label", "twice"],
)
def test_what_is_not_in_the_list_is_an_error(samples):
    with pytest.raises(ValueError, match=samples[0].name):
        render(samples)


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    texts = [f"{letter * 200_000}\n" for letter in "ab"]
    write_file(str(tmp_path), "x.prom", texts[0])
    done = threading.Event()

    def write():
        for number in range(200):
            write_file(str(tmp_path), "x.prom", texts[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert (tmp_path / "x.prom").read_text() in texts
        assert [path.name for path in tmp_path.glob("*.prom")] == ["x.prom"], "the collector reads *.prom"
    writer.join()
    assert os.listdir(tmp_path) == ["x.prom"]
    assert (tmp_path / "x.prom").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_former_file_only(tmp_path):
    write_file(str(tmp_path), "x.prom", "before\n")
    with pytest.raises(UnicodeEncodeError):
        write_file(str(tmp_path), "x.prom", "\udc80")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x.prom": "before\n"}


def test_what_killed_writers_have_left_is_removed(tmp_path):
    for name, age in ((".x.prom.0123", 1000), (".x.prom.4567", 0), (".y.prom.0123", 1000)):
        (tmp_path / name).write_text("half of a fi")
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)
    write_file(str(tmp_path), "x.prom", "text\n")
    assert sorted(os.listdir(tmp_path)) == [".x.prom.4567", ".y.prom.0123", "x.prom"], "that of another writer stays"


def test_a_missing_directory_is_not_created(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_file(str(tmp_path / "none"), "x.prom", "")
    assert not (tmp_path / "none").exists()


def test_a_bounded_write_passes_the_error_on(tmp_path):
    lock = str(tmp_path / "lock")
    write_bounded(str(tmp_path), "x.prom", "text\n", lock)
    assert (tmp_path / "x.prom").read_text() == "text\n"
    with pytest.raises(FileNotFoundError):
        write_bounded(str(tmp_path / "none"), "x.prom", "", lock)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="still hangs"):
            write_bounded(str(tmp_path), "x.prom", "other\n", lock)
    assert (tmp_path / "x.prom").read_text() == "text\n"


def test_a_bounded_call_keeps_no_output_open(capfd):
    """SSH waits until the last process has closed the output, and one that hangs cannot always be killed."""
    call_bounded(lambda: os.write(1, b"out") + os.write(2, b"err"))
    assert capfd.readouterr() == ("", "")


def test_a_link_of_another_user_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "foreign").write_text("foreign")
    (tmp_path / "x.prom").symlink_to(tmp_path / "foreign")
    write_file(str(tmp_path), "x.prom", "own\n")
    assert (tmp_path / "foreign").read_text() == "foreign"
    assert not (tmp_path / "x.prom").is_symlink()
