# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a roll-out goes on after a batch, and that whatever stops it is told with what is left."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.rollout import Batch, after
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Answers, Fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import steps

SITES = {"cloud1": "cloud", "cloud2": "cloud", "idc1": "idc", "idc2": "idc"}
FLEET = Fleet(SITES, size=1400, port=8472, overhead=50, answering=set(SITES))
CLOUD, IDC = ["cloud1", "cloud2"], ["idc1", "idc2"]


def well(host, peers=tuple(SITES)):
    return Answers(reached=True, rtt_ms={peer: 0.5 for peer in peers if peer != host}, tcp=True)


def deaf(host):
    peers = [peer for peer in SITES if SITES[peer] != SITES[host]]
    findings = [{"peer": peer, "kind": "silent", "text": f"{peer} does not answer"} for peer in peers]
    return well(host, CLOUD)._replace(findings=findings)


def batch(changed=None, failed=None, left=()):
    return Batch(changed if changed is not None else dict.fromkeys(CLOUD, True), failed or {}, left)


def told(verdict):
    return [line.text for line in [*verdict.lines, *steps(verdict.todo)]]


def test_a_batch_that_is_whole_says_who_comes_next():
    verdict = after(batch(changed={"cloud1": True, "cloud2": False}, left=IDC), FLEET, {h: well(h) for h in CLOUD})
    assert verdict.whole
    assert told(verdict)[0] == "cloud1, cloud2: 1 of 2 changed; not touched yet: idc1, idc2"
    assert told(verdict)[1].startswith("whole: 6 of 6 pairs asked (12 there are)")


def test_the_first_host_alone_has_nobody_to_ask_and_that_is_no_fault():
    verdict = after(batch(changed={"cloud1": True}), FLEET, {"cloud1": Answers(reached=True, tcp=True)})
    assert verdict.whole
    assert told(verdict) == ["cloud1: 1 of 1 changed", "there is nobody yet whom they must reach"]


def test_silence_stops_it_with_the_remedy_and_what_is_left_and_how_to_go_on():
    verdict = after(batch(left=IDC), FLEET, {host: deaf(host) for host in CLOUD})
    assert not verdict.whole
    assert told(verdict)[0] == "cloud1, cloud2: 2 of 2 changed"
    assert told(verdict)[1].startswith("not whole: 2 of 6 pairs asked")
    assert "  silent: cloud and idc: all 4 of 4 pairs" in told(verdict), "and not each host of the site that was asked"
    stopped = told(verdict).index("stopped: 2 hosts not touched: idc1, idc2")
    assert [text[:6] for text in told(verdict)[stopped + 1 :]] == ["next: ", "      "]
    assert "open UDP port 8472 both ways between cloud and idc" in told(verdict)[stopped + 1]
    assert told(verdict)[-1].endswith("the same command again: it goes on where this one has stopped")


@pytest.mark.parametrize("left", [IDC, []])
def test_a_host_that_failed_stops_it_though_all_others_are_whole(left):
    verdict = after(batch({"cloud1": True}, {"cloud2": "no such\ndevice"}, left), FLEET, {"cloud1": well("cloud1")})
    assert not verdict.whole
    assert told(verdict)[0] == "cloud1, cloud2: 1 of 2 changed"
    assert "failed: cloud2: no such device" in told(verdict)
    assert "next: mend what failed" in told(verdict)
    assert ("stopped: 2 hosts not touched: idc1, idc2" in told(verdict)) == bool(left)


def test_a_host_that_could_not_ask_is_no_host_that_is_whole():
    verdict = after(batch(), FLEET, {"cloud1": well("cloud1"), "cloud2": Answers(reached=True, failure="no address")})
    assert not verdict.whole
    assert any("could not ask: cloud2: no address" in text for text in told(verdict))


def screen(verdict):
    """As it is printed, with the tone of each line before it: ! bad, + good."""
    tones = {"bad": "!", "good": "+", "plain": " "}
    return [f"{tones[line.tone]}{line.text}" for line in [*verdict.lines, *steps(verdict.todo)]]


def test_the_screens_of_batches():
    first = {"cloud1": Answers(reached=True, tcp=True)}
    verdict = after(batch(changed={"cloud1": True}, left=IDC), FLEET, first)
    assert verdict == (True, verdict.lines, [])
    assert screen(verdict) == [
        "+cloud1: 1 of 1 changed; not touched yet: idc1, idc2",
        "+there is nobody yet whom they must reach",
    ]
    stopped = after(
        batch({"cloud1": True}, {"idc2": "b", "cloud2": "no such\ndevice"}), FLEET, {"cloud1": well("cloud1")}
    )
    assert stopped.whole is False
    assert screen(stopped) == [
        " cloud1, cloud2, idc2: 1 of 3 changed",
        "!failed: cloud2: no such device",
        "!failed: idc2: b",
        (
            "+whole: 3 of 3 pairs asked (12 there are), small, full (1400 bytes) and TCP; "
            "worst round trip 0.5 ms cloud1 -> idc2"
        ),
        " a part of all pairs: 1 of 4 nodes asked, 3 were asked; 2 of 4 pairs of sites, counted both ways",
        "!stopped",
        " next: mend what failed",
        "       then the same command again: it goes on where this one has stopped",
    ]


@pytest.mark.parametrize(
    "answers",
    [
        Answers(reached=True, failure="no address"),
        Answers(reached=False),
        Answers(reached=True, findings=[{"peer": "idc1", "kind": "silent", "text": ""}]),
    ],
)
def test_whatever_one_host_says_is_judged(answers):
    assert after(batch(changed={"cloud1": True}, left=IDC), FLEET, {"cloud1": answers}).whole is False
