# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the rounds of the probe timer: bounded, complete in time, and with few series."""

from __future__ import annotations

import collections
import os
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._host.probe import programs
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.round import (
    FAILING,
    ROTATING,
    WATCHED,
    ProbeConfig,
    ProbePeer,
    ProbeRecord,
    RoundResult,
    check_endpoint,
    config_text,
    endpoint_of,
    failing_peers,
    parse_config,
    parse_record,
    peer_line,
    record_text,
    round_samples,
    run_round,
    sample,
)
from ansible_collections.tke.overlay.plugins.module_utils._metrics import METRICS, PROBE, render

SIZES = st.dictionaries(
    st.sampled_from(["cloud", "idc", "lab", "shanghai"]), st.integers(1, 150), min_size=1, max_size=4
)


def peers_of(sizes):
    """Return peers of sites of these sizes."""
    pairs = [(site, number) for site, size in sizes.items() for number in range(size)]
    return [
        ProbePeer(f"{site}{number}", site, f"10.{index >> 8}.{index & 255}.0", 1450)
        for index, (site, number) in enumerate(pairs)
    ]


def config_of(peers, directory="/metrics"):
    return ProbeConfig(directory, 60, "cloud", "10.244.0.0", list(map(peer_line, peers)))


def sample_of(peers, record):
    return sample(list(map(peer_line, peers)), record)


@given(SIZES, st.integers(0, 1000), st.integers(0, 300))
def test_a_round_probes_few_peers_and_every_site(sizes, number, failing):
    peers = peers_of(sizes)
    sampled = sample_of(peers, ProbeRecord(number, failing=[peer.name for peer in peers[:failing]]))
    names = [peer.name for peer in sampled.peers]
    assert len(names) == len(set(names)) <= WATCHED + ROTATING + FAILING + 2 * len(sizes)
    assert {peer.site for peer in sampled.peers} == set(sizes)
    assert set(sampled.watched) <= set(names)


@given(SIZES, st.integers(0, 50))
def test_every_peer_is_probed_in_the_promised_rounds(sizes, first):
    peers = peers_of(sizes)
    rounds = sample_of(peers, ProbeRecord()).rounds
    probed = {peer.name for number in range(rounds) for peer in sample_of(peers, ProbeRecord(first + number)).peers}
    assert probed == {peer.name for peer in peers}


@given(SIZES)
def test_the_watched_peers_stay_the_same(sizes):
    peers = peers_of(sizes)
    assert len({frozenset(sample_of(peers, ProbeRecord(number)).watched) for number in range(5)}) == 1


def test_a_failing_peer_is_probed_until_it_answers():
    peers = peers_of({"cloud": 500})
    far = peers[400].name
    assert far not in {peer.name for peer in sample_of(peers, ProbeRecord(0)).peers}
    assert far in {peer.name for peer in sample_of(peers, ProbeRecord(0, failing=[far])).peers}


@pytest.mark.parametrize("dead", [False, True], ids=["all answer", "none answers"])
def test_thousands_of_peers_make_no_thousands_of_series(dead):
    peers = peers_of({"cloud": 4000, "idc": 1000})
    record = ProbeRecord(3, failing=[peer.name for peer in peers[2000:2050]])
    sampled = sample_of(peers, record)
    answers = {} if dead else {peer.address: 0.001 for peer in sampled.peers}
    samples = round_samples(config_of(peers), sampled, RoundResult(answers, answers))
    by_name = collections.Counter(each.name for each in samples)
    assert by_name["probe_peer_reachable"] <= WATCHED + FAILING + 2
    assert len(samples) < 100
    assert by_name["probe_peers"] == 2


def test_over_a_day_the_series_of_a_healthy_fleet_stay_few():
    peers = peers_of({"cloud": 3000, "idc": 2000})
    seen = set()
    for number in range(1440):
        sampled = sample_of(peers, ProbeRecord(number))
        answers = {peer.address: 0.001 for peer in sampled.peers}
        samples = round_samples(config_of(peers), sampled, RoundResult(answers, answers))
        seen |= {(each.name, *sorted(each.labels.items())) for each in samples}
    assert len(seen) < 60


def test_metrics_tell_reachable_from_full_size():
    peers = peers_of({"cloud": 2, "idc": 1})
    result = RoundResult({peers[0].address: 0.5, peers[1].address: 0.25}, {peers[0].address: 0.5})
    text = render(round_samples(config_of(peers), sample_of(peers, ProbeRecord()), result))
    for line in (
        'probe_known_peers{site="cloud"} 2',
        'probe_known_peers{site="idc"} 1',
        'probe_peers{site="cloud"} 2',
        'probe_reachable_peers{site="cloud"} 2',
        'probe_full_size_peers{site="cloud"} 1',
        'probe_reachable_peers{site="idc"} 0',
        'probe_round_trip_seconds{site="cloud"} 0.5',
        'probe_peer_full_size{peer="cloud1",site="cloud"} 0',
        'probe_peer_reachable{peer="idc0",site="idc"} 0',
        'probe_peer_round_trip_seconds{peer="cloud1",site="cloud"} 0.25',
    ):
        assert f"tke_overlay_{line}\n" in text
    assert 'probe_peer_round_trip_seconds{peer="idc0"' not in text
    assert failing_peers(peers, result) == ["cloud1", "idc0"]


def test_metrics_count_the_living_wireguard_peers_of_a_site():
    now = int(time.time())
    plain, *encrypted = peers_of({"cloud": 1, "idc": 4})
    peers = [plain, *(peer._replace(encrypted=True) for peer in encrypted)]
    handshakes = dict(zip([peer.address for peer in encrypted], [now - 1, now - 170, now - 600]))
    text = render(round_samples(config_of(peers), sample_of(peers, ProbeRecord()), RoundResult({}, {}, handshakes)))
    oldest = "probe_wireguard_oldest_handshake_timestamp_seconds"
    for name, value in (("probe_wireguard_peers", 4), ("probe_wireguard_living_peers", 2), (oldest, 0)):
        assert f'tke_overlay_{name}{{site="idc"}} {value}\n' in text
        assert f'tke_overlay_{name}{{site="cloud"}}' not in text
    handshakes[encrypted[3].address] = now
    text = render(round_samples(config_of(peers), sample_of(peers, ProbeRecord()), RoundResult({}, {}, handshakes)))
    assert f'{oldest}{{site="idc"}} {now - 600}\n' in text


def test_files_are_read_as_they_were_written():
    peers = peers_of({"cloud": 3, "idc": 2})
    config = config_of([peers[0]._replace(encrypted=True), *peers[1:]], "/var/lib/a b")
    assert parse_config(f"# Written\n{config_text(config)}") == config
    record = ProbeRecord(7, 2, True, ["a", "b"])
    assert parse_record(record_text(record)) == record


@pytest.mark.parametrize("text", ["", "1 2", "a b c", "-1 0 0"])
def test_a_damaged_record_begins_anew(text):
    assert parse_record(text) == ProbeRecord()


@pytest.mark.parametrize(("word", "other"), [("source", "sauce"), ("interval 60", "interval x")])
def test_a_damaged_configuration_is_an_error(word, other):
    text = config_text(config_of([]))
    assert parse_config(text).peers == []
    with pytest.raises(ValueError, match=f"{word.split()[0]}|'x'"):
        parse_config(text.replace(word, other))


@pytest.mark.parametrize(
    ("note", "hosts", "expected"),
    [
        ("10.0.2.2:6443\n", "/etc/hosts\n# BEGIN x\n10.0.2.2 api.x\n10.0.2.3 git.x\n", ("10.0.2.2", 6443, ["api.x"])),
        ("[fd00::1]:6443\n", "", ("fd00::1", 6443, [])),
        ("", "", None),
        ("10.0.2.2\n", "", None),
    ],
)
def test_the_endpoint_comes_from_the_files_of_the_host(note, hosts, expected):
    assert endpoint_of(note, hosts) == expected


def test_stages_after_a_failed_one_are_missing():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert check_endpoint("127.0.0.1", port, []) == {"route": True, "tcp": False}
        closed.listen()
        assert check_endpoint("127.0.0.1", port, ["localhost"])["name"] in (True, False)
    assert check_endpoint("127.0.0.1", port, ["no-such-name.invalid"])["name"] is False


def test_a_server_without_tls_fails_at_that_stage():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import socket, sys; socket.socket(fileno=int(sys.argv[1])).accept()[0].close()",
                str(listener.fileno()),
            ],
            pass_fds=[listener.fileno()],
        )
        assert check_endpoint(*listener.getsockname(), []) == {"route": True, "tcp": True, "tls": False}
        process.wait()


@pytest.fixture
def files(tmp_path):
    """The directories of the saved state, of the record and of the metrics."""
    for name in ("etc", "run", "metrics"):
        (tmp_path / name).mkdir()
    config = config_of([ProbePeer("b", "cloud", "127.0.0.9", 1450)], str(tmp_path / "metrics"))._replace(
        source="127.0.0.1"
    )
    (tmp_path / "etc/probe.peers").write_text(config_text(config))
    return tmp_path


def test_a_round_writes_only_metrics_of_the_list(files):
    run_round(str(files / "etc"), str(files / "run"))
    text = (files / "metrics/tke_overlay_probe.prom").read_text()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names <= {f"tke_overlay_{metric.name}" for metric in METRICS if metric.writer == PROBE}
    assert parse_record((files / "run/probe.record").read_text()).number == 1


def test_a_round_without_its_directory_counts_and_ends_well(files, capsys):
    os.rmdir(files / "metrics")
    for _number in range(3):
        run_round(str(files / "etc"), str(files / "run"))
    errors = capsys.readouterr().err
    assert errors.count("overlay_metrics_dir") == 1, "only the first failure is reported"
    assert errors.startswith("<4>")
    (files / "metrics").mkdir()
    run_round(str(files / "etc"), str(files / "run"))
    assert "tke_overlay_probe_write_errors_total 3\n" in (files / "metrics/tke_overlay_probe.prom").read_text()


def test_a_round_that_ends_after_the_removal_writes_nothing(files, monkeypatch):
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: False if str(path).endswith("probe.peers") else real(path))
    run_round(str(files / "etc"), str(files / "run"))
    assert list((files / "metrics").iterdir()) == []


def test_the_installed_program_runs_on_its_own(files):
    (files / "etc/probe.py").write_text(
        programs.ROUND_PY.replace('"/run/tke-overlay"', repr(str(files / "run"))), encoding="utf-8"
    )
    command = [sys.executable, "-s", "-E", "-S", "-X", f"pycache_prefix={files}/cache", "-m", "probe"]
    subprocess.run(command, cwd=files / "etc", check=True, timeout=60)
    assert "tke_overlay_probe_peers" in (files / "metrics/tke_overlay_probe.prom").read_text()
    assert sorted(path.name for path in (files / "etc").iterdir()) == ["probe.peers", "probe.py"]
