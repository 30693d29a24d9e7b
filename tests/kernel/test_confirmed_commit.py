# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The confirmed commit on real kernel tables: what ends a pending change, and what no accident may leave behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit import confirmed_commit
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    PENDING,
    RECORD,
    Confirmation,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel import link
from ansible_collections.tke.overlay.plugins.module_utils._host.node import change, reset
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.state import paths, programs
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts
from breakages import PEERS, document, everything


def with_confirmation(seconds=30):
    """Return options of a run whose change must be confirmed."""
    return node.ConvergeOptions(confirmation=Confirmation("token", seconds))


PENDING_RUN = with_confirmation()
OTHER_NODE_CIDR = [Peer("me", "10.245.9.0/24", "10.0.1.11"), *PEERS[1:]]
CHANGES = {
    "peers": {"fleet": fleet_text(PEERS[:3])},
    "the last peer": {"fleet": fleet_text(PEERS[:1])},
    "MTU": {"mtu": 1400},
    "VNI": {"vni": 7},
    "port": {"port": 4789},
    "node_cidr, in a further CIDR": {
        "container_cidr": ["10.244.0.0/16", "10.245.0.0/16"],
        "fleet": fleet_text(OTHER_NODE_CIDR),
        "former": "10.244.0.0/24 me\n",
    },
}


class Armed:
    """Runs programs except those of systemd: it records their commands."""

    def __init__(self, run):
        self.run, self.recorded, self.answer = run, [], (0, "", "")

    def __call__(self, command, text=None):
        if command[0] in ("systemd-run", "systemctl"):
            self.recorded.append(command)
            return self.answer
        return self.run(command, text)


@pytest.fixture
def run(run):
    """Return the ``run`` of all kernel tests, without the programs of systemd."""
    return Armed(run)


@pytest.fixture
def root(run, tmp_path, monkeypatch):
    """Return the file root of a host with systemd that is no node."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    units = {paths.SERVICE: "enabled", paths.TIMER: "enabled active"}
    monkeypatch.setattr(node, "read_host", lambda _run: HostFacts(True, units, False, (6, 1)))
    monkeypatch.setattr(change, "unit_commands", lambda *_: [])
    return tmp_path


@pytest.fixture
def host(run, root):
    """Return the file root of a node."""
    node.converge(document(), run, check=False)
    return root


def make_pending(run, **changes):
    """Make a change that is pending."""
    assert node.converge(document(**changes), run, False, PENDING_RUN).seconds_to_confirm > 0


def script(root, name, *arguments, **environment):
    """Run a script of the pending change, or the restore script."""
    path = f"{root}{STATE}/restore" if name == "restore" else f"{root}{PENDING}/{name}"
    done = subprocess.run(
        ["sh", path, *arguments],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{root}/run/tke-overlay", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def texts(root, below="etc"):
    """Return the texts of all files of the host, by path."""
    return {str(path): path.read_text() for path in (root / below).rglob("*") if path.is_file()}


def kernel(run):
    """Return everything that the kernel lists, without the indexes of devices: a recreated device has another one."""
    return {
        command: sorted(re.sub(r'"(ifindex|link_index)": \d+, ', "", row) for row in rows)
        for command, rows in everything(run).items()
    }


def record(root):
    """Return the lines about the last rollback: the token, what is not as before, the reason."""
    return (root / RECORD.lstrip("/")).read_text().splitlines()


@pytest.mark.parametrize("change", CHANGES)
def test_rollback_restores_the_kernel_and_the_files(run, host, change):
    before, saved = kernel(run), texts(host)
    make_pending(run, **CHANGES[change])
    assert kernel(run) != before
    assert texts(host) == saved, "after a reboot the host has the old plan"
    code, out, errors = script(host, "roll-back", "the test wants it")
    assert (code, errors) == (0, "")
    assert out.endswith("tke-overlay: rolled a change back: the test wants it\n")
    assert (kernel(run), texts(host)) == (before, saved)
    assert record(host) == ["token", "complete", "the test wants it"]
    assert not (host / PENDING.lstrip("/")).exists()
    assert not node.converge(document(), run, check=True).changed


def test_rollback_in_a_cutover_receives_on_both_ports_again(run, host):
    """Hosts whose change was confirmed send to the new port already."""
    node.converge(document(port=4789), run, False, node.ConvergeOptions(phase="prepare"))
    before = kernel(run)
    sysctls = [f"net/ipv4/conf/tke-alt/{name}" for name in ("rp_filter", "forwarding")]
    values = files.read_sysctls(sysctls)
    cutover = PENDING_RUN._replace(phase="cutover")
    assert node.converge(document(port=4789), run, False, cutover).seconds_to_confirm > 0
    assert kernel(run) != before
    assert script(host, "roll-back")[::2] == (0, "")
    assert kernel(run) == before
    assert files.read_sysctls(sysctls) == values


@pytest.mark.parametrize("change", [{}, *CHANGES.values()])
def test_confirmation_saves_the_complete_change(run, root, change):
    if change:
        node.converge(document(), run, check=False)
    make_pending(run, **change)
    changed = everything(run)
    assert script(root, "confirm", "token") == (0, "", "")
    assert everything(run) == changed
    assert not node.converge(document(**change), run, check=True).changed
    assert script(root, "restore") == (0, "", "")
    assert sorted(os.listdir(root / "run/tke-overlay")) == ["lock", "rules.listing", "rules.nft"]
    assert list((root / "etc").rglob(".tke-overlay")) == []
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in (root / "etc").rglob("*") if path.is_file())


def test_confirmation_drops_files_left_by_a_loss_of_power(run, host):
    left = host / "etc/tke-overlay/.tke-overlay"
    left.mkdir()
    (left / "summary").write_text("of a plan that was never confirmed\n")
    (left / "api-endpoint").write_text("10.0.2.9:6443\n")
    make_pending(run, **CHANGES["peers"])
    assert script(host, "confirm", "token") == (0, "", "")
    assert not left.exists()
    assert not (host / "etc/tke-overlay/api-endpoint").exists()


KILL_AFTER_MOVES = r"""
moves=0
mv() {
    for to; do :; done
    for from; do
        case $from in -f | "$to") continue ;; esac
        if [ "$moves" -eq COUNT ]; then kill -KILL $$; fi
        moves=$((moves + 1))
        command mv -f "$from" "$to"
    done
}
"""


def lose_power_during_confirmation(run, host, moves):
    """Confirm the pending change until so many files were moved; then, as after a boot, only the disk is left.

    :returns: whether the confirmation ended before.
    """
    path = host / PENDING.lstrip("/") / "confirm"
    text = path.read_text()
    assert "set -u\n" in text
    path.write_text(text.replace("set -u\n", f"set -u\n{KILL_AFTER_MOVES.replace('COUNT', str(moves))}", 1))
    code, _out, _errors = script(host, "confirm", "token")
    assert code in (0, -signal.SIGKILL)
    shutil.rmtree(host / "run")
    run(["ip", "link", "del", "tke0"])
    run(["nft", "delete", "table", "inet", "tke_overlay"])
    return code == 0


@pytest.mark.parametrize("finisher", ["script", "module"])
def test_loss_of_power_leaves_the_saved_state_of_one_plan(run, host, finisher):
    old, new = document(), document(port=4789, fleet=fleet_text(PEERS[:4]))
    plans = []
    for moves in itertools.count():
        assert node.converge(new, run, False, PENDING_RUN).seconds_to_confirm > 0
        ended = lose_power_during_confirmation(run, host, moves)
        if finisher == "script":
            assert script(host, "restore")[::2] == (0, "")
        else:
            node.converge(new if moves else old, run, check=False)
        assert list((host / "etc").rglob(".confirmed")) == []
        (plan,) = [plan for plan in (old, new) if not node.converge(plan, run, check=True).changed]
        plans.append("old" if plan is old else "new")
        if ended:
            break
        node.converge(old, run, check=False)
    assert plans == sorted(plans, reverse=True), "the new plan stays once it is valid"
    assert plans.count("old") == 1
    assert plans.count("new") >= 5


def test_rollback_leaves_nothing_on_a_host_that_was_no_node(run, root):
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as stream:
        stream.write("0")
    before = everything(run)
    make_pending(run)
    assert texts(root) == {}
    drop_ins = {name.removeprefix(f"{root}/run/") for name in texts(root, "run") if name.endswith((".link", ".conf"))}
    assert {"systemd/network/00-tke-overlay.link", "sysctl.d/99-tke-overlay.conf"} <= drop_ins
    assert script(root, "roll-back")[::2] == (0, "")
    assert everything(run) == before
    assert {name.removeprefix(f"{root}/") for name in texts(root, ".")} == {
        "run/tke-overlay/lock",
        "run/tke-overlay/rolled-back",
    }
    with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as stream:
        assert stream.read() == "0\n"


def test_rollback_changes_many_routes_with_few_programs(run, root):
    new, old = ([f"10.99.{third}.{number}" for number in range(200)] for third in (1, 2))
    for address in new:
        run(["ip", "route", "add", "blackhole", address])
    before = confirmed_commit.RollbackState(
        base="",
        texts={},
        removals=[
            *(f"ip -4 route del blackhole {address}" for address in ["10.99.3.1", *new]),  # the first does not exist
            "false",
            f"ip -4 route add blackhole {old[0]}",
        ],
        additions=[f"ip -4 route replace blackhole {address}" for address in old],
        sysctls={},
        device="tke0",
    )
    confirmed_commit.stage(Confirmation("token"), confirmed_commit.StagedFiles({}, [], [], []), before)
    lines = {name: (root / f"{PENDING[1:]}/{name}").read_text().splitlines() for name in ("removals", "additions")}
    assert [len(lines["removals"]), len(lines["additions"])] == [3, 1], "a process takes more than a millisecond"
    confirmed_commit.roll_back("a test", run)
    routes = run(["ip", "route", "show", "root", "10.99.0.0/16"])[1].split()
    assert sorted(word for word in routes if word != "blackhole") == sorted(old)


def test_confirmation_replaces_temporary_drop_ins(run, root):
    make_pending(run)
    script(root, "confirm", "token")
    assert not [name for name in texts(root, "run") if name.endswith((".link", ".conf"))]
    assert (root / "etc/systemd/network/00-tke-overlay.link").exists()


def test_rollback_without_saved_state_restores_the_kernel(run, host):
    for line in ("link set tke0 mtu 1300", "route del 10.244.1.0/24", "neigh del 10.244.2.0 dev tke0"):
        assert run(["ip", *line.split()])[0] == 0
    shutil.rmtree(host / STATE.lstrip("/"))
    before = kernel(run)
    make_pending(run, vni=7, fleet=fleet_text(PEERS[:4]))
    assert script(host, "roll-back")[::2] == (0, "")
    assert kernel(run) == before
    assert not (host / STATE.lstrip("/")).exists()


def test_rollback_restores_addresses_of_the_pod_bridge(run, host):
    for line in ("link add tke-br0 type bridge", "address add 10.244.3.1/24 dev tke-br0"):
        assert run(["ip", *line.split()])[0] == 0
    make_pending(run, mtu=1400)
    assert "10.244.3.1" not in run(["ip", "address", "show", "dev", "tke-br0"])[1]
    script(host, "roll-back")
    assert "10.244.3.1/24" in run(["ip", "address", "show", "dev", "tke-br0"])[1]


def test_restore_script_leaves_a_pending_change_alone(run, host):
    make_pending(run, vni=7)
    changed = everything(run)
    assert script(host, "restore") == (0, "", "")
    assert everything(run) == changed


def test_restore_script_rolls_back_if_the_timer_is_lost(run, host):
    before = kernel(run)
    make_pending(run, vni=7)
    (host / PENDING.lstrip("/") / "deadline").write_text("0\n")
    assert script(host, "restore")[0] == 0
    assert kernel(run) == before
    assert record(host)[1:] == ["complete", "it was not confirmed, and its timer was lost"]


def test_nothing_changes_if_the_timer_cannot_be_set(run, host):
    before, saved = everything(run), texts(host)
    run.answer = (1, "", "no bus")
    with pytest.raises(KernelError, match=r"nothing was changed, because the timer .* cannot be set: .*: no bus"):
        node.converge(document(vni=7), run, False, PENDING_RUN)
    assert (everything(run), texts(host)) == (before, saved)
    assert not (host / PENDING.lstrip("/")).exists()
    run.answer = (0, "", "")
    make_pending(run, vni=7)
    command = run.recorded[-1]
    assert "--on-active=30" in command
    assert command[-3:-1] == ("/bin/sh", f"{PENDING}/roll-back")


def test_change_of_files_alone_needs_no_confirmation(run, host):
    outcome = node.converge(document(service_cidr="10.244.254.0/24"), run, False, PENDING_RUN)
    assert outcome.changed
    assert outcome.seconds_to_confirm is None
    assert not any(command[0] == "systemd-run" for command in run.recorded)
    assert "Service range: 10.244.254.0/24" in (host / STATE.lstrip("/") / "summary").read_text()


def test_rejects_another_token_and_a_late_confirmation(run, host):
    before, saved = everything(run), texts(host)
    make_pending(run, mtu=1400)
    assert script(host, "confirm", "other")[0] == 3
    assert script(host, "confirm")[0] == 3
    assert texts(host) == saved
    late = host / "late"
    shutil.copytree(host / PENDING.lstrip("/"), late)
    assert script(host, "roll-back")[0] == 0
    shutil.copytree(late, host / PENDING.lstrip("/"))
    (host / PENDING.lstrip("/") / "deadline").unlink()  # as during a rollback
    assert script(host, "confirm", "token")[0] == 3
    assert everything(run) == before


def batches(run, at, accident):
    """Return a ``run`` in which an accident replaces the batch of this number. Lookups of routes change nothing."""
    numbers = itertools.count()

    def stopped(command, text=None):
        is_lookup = command[:2] == ["ip", "-o"]
        if text and command[0] in ("ip", "bridge", "nft") and not is_lookup and next(numbers) == at:
            return accident(command, text)
        return run(command, text)

    return stopped


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "node"])
def test_rolls_back_at_once_whichever_batch_fails(run, root, fresh):
    if not fresh:
        node.converge(document(PEERS[:3]), run, check=False)
    before, saved = kernel(run), texts(root)
    # A new device gets its neighbours and routes in the batch that creates it. The rules of a node do not change.
    for at in range(3 if fresh else 2):
        failing = batches(run, at, lambda *_: (1, "", "RTNETLINK answers: no such thing\nCommand failed -:1"))
        with pytest.raises(
            KernelError, match=r"(?s)no such thing.*the change was rolled back, and the host is as it was"
        ):
            node.converge(document(vni=7), failing, check=False)
        assert (kernel(run), texts(root)) == (before, saved)


def test_rolls_back_after_an_unexpected_exception(run, host):
    before = kernel(run)

    def broken(*_arguments):
        raise MemoryError("no room")

    words = r"MemoryError: no room; the change was rolled back, and the host is as it was before"
    with pytest.raises(KernelError, match=words):
        node.converge(document(vni=7), batches(run, 1, broken), check=False)
    assert kernel(run) == before


@pytest.mark.parametrize("at", range(2))
def test_rollback_restores_the_plan_after_the_module_is_killed(run, host, at):
    before, saved = kernel(run), texts(host)
    child = os.fork()
    if child == 0:
        killed = batches(run, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with contextlib.suppress(BaseException):
            node.converge(document(vni=7), killed, False, PENDING_RUN)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert script(host, "roll-back")[::2] == (0, "")
    assert (kernel(run), texts(host)) == (before, saved)


def test_rollback_kills_a_module_that_hangs(run, host, monkeypatch):
    before = kernel(run)
    monkeypatch.setattr(confirmed_commit, "LOCK_SECONDS", 1)
    child = os.fork()
    if child == 0:
        hanging = batches(run, 1, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        with contextlib.suppress(BaseException):
            node.converge(document(vni=7), hanging, False, PENDING_RUN)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    assert script(host, "roll-back")[::2] == (0, "")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert kernel(run) == before


def test_rolls_back_a_change_that_cannot_be_saved(run, root):
    before = everything(run)
    make_pending(run)
    (root / "etc").mkdir()
    (root / "etc/cni").write_text("in the way")
    code, _out, errors = script(root, "confirm", "token")
    assert code == 1
    assert "etc/cni" in errors
    assert everything(run) == before
    assert set(texts(root)) == {f"{root}/etc/cni"}
    assert record(root)[1] == "complete"
    with pytest.raises(KernelError, match=r"could not be saved: .*etc/cni.*; the change was rolled back"):
        node.converge(document(), run, check=False)
    assert everything(run) == before


def test_reports_what_a_rollback_could_not_restore(run, host):
    make_pending(run, mtu=1400)
    batch = host / STATE.lstrip("/") / "route.batch"
    batch.write_text(batch.read_text() + "route replace 10.244.9.0/24 via 224.0.0.1 dev tke0 onlink proto 144\n")
    code, _out, errors = script(host, "roll-back")
    assert code == 1
    assert "not as before" in errors
    summary = confirmed_commit.rollback_summary((host / RECORD.lstrip("/")).read_text(), "token")
    assert "rolled back, but the host is not as it was before: " in summary


def test_reports_a_file_that_a_rollback_could_not_restore(run, host):
    """As on a full disk."""
    make_pending(run, mtu=1400)
    file = host / "etc/tke-overlay/summary"
    file.write_text("placed by a confirmation that was interrupted\n")
    file.with_name("summary.new").mkdir()
    code, _out, errors = script(host, "roll-back")
    assert code == 1
    assert "not as before: /etc/tke-overlay/summary: mv: " in errors
    assert "/etc/tke-overlay/summary: mv: " in record(host)[1]


@pytest.mark.parametrize("name", ["confirm", "roll-back"])
def test_scripts_of_a_pending_change_need_no_room_in_run(run, host, name):
    """The directory of the change is on a small tmpfs that is full when the script starts."""
    before, directory = kernel(run), host / "run/tke-overlay"
    make_pending(run, mtu=1400)
    kept = host / "kept"
    shutil.copytree(directory, kept)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(directory)], check=True)
    try:
        shutil.copytree(kept, directory, dirs_exist_ok=True)
        with pytest.raises(OSError, match="No space left"):
            (directory / "filler").write_bytes(bytes(1 << 20))
        code, _out, errors = script(host, name, "token")
        assert (code, errors) == (0, "")
        assert (kernel(run) == before) == (name == "roll-back")
        if name == "roll-back":
            assert record(host)[1] == "complete"
    finally:
        subprocess.run(["umount", str(directory)], check=True)


# --- one change at a time ---


def test_rolls_back_an_abandoned_change_before_the_next(run, host):
    make_pending(run, vni=7)
    (host / PENDING.lstrip("/") / "deadline").write_text("0\n")
    outcome = node.converge(document(mtu=1400), run, check=False)
    assert outcome.link.before == {"mtu": "1450"}, "compared with the old plan, not with the abandoned one"


def test_waits_for_the_pending_change_of_another_run(run, host, monkeypatch):
    make_pending(run, mtu=1400)
    threading.Timer(0.3, script, (host, "confirm", "token")).start()
    start = time.monotonic()
    assert node.converge(document(mtu=1400), run, check=False).changed is False
    assert time.monotonic() - start > 0.2
    make_pending(run, mtu=1300)
    monkeypatch.setattr(confirmed_commit, "LOCK_SECONDS", 0)
    with pytest.raises(KernelError, match=r"the change of another run has been pending for 0 s"):
        node.converge(document(), run, check=False)
    assert script(host, "confirm", "token")[0] == 0, "the other run did not touch it"


def test_removal_of_the_node_cancels_a_pending_change(run, host):
    make_pending(run, vni=7)
    for left in ("tke-overlay/.tke-overlay", "tke-overlay/.confirmed", "systemd/system/.tke-overlay"):
        (host / "etc" / left).mkdir()
        (host / "etc" / left / "summary").write_text("of a plan that was never confirmed\n")
    reset.remove("tke0", "tke-br0", run, check=False)
    assert not any("tke" in row for rows in everything(run).values() for row in rows)
    assert {name.removeprefix(f"{host}/") for name in texts(host, ".")} == {"run/tke-overlay/lock"}


# --- the API endpoint ---


@pytest.fixture
def endpoint(host):
    """Return a server on the host that is recorded as the API endpoint, and its address."""
    server = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{server.getsockname()[1]}"
    (host / STATE.lstrip("/") / "api-endpoint").write_text(f"{address}\n")
    yield server, address
    server.close()


def test_rolls_back_a_change_that_cuts_off_the_api_endpoint(run, host, endpoint):
    server, address = endpoint
    before, saved = kernel(run), texts(host)

    def closing(command, text):
        server.close()
        return run(command, text)

    words = (
        rf"cut this host off from its API endpoint: {address} .*reachable before.*refused.*the change was rolled back"
    )
    with pytest.raises(KernelError, match=words):
        node.converge(document(vni=7), batches(run, 1, closing), False, with_confirmation(3))
    assert (kernel(run), texts(host)) == (before, saved)


def test_accepts_an_api_endpoint_that_is_back_in_time(run, host, endpoint):
    server, address = endpoint
    port = int(address.partition(":")[2])

    def closing(command, text):
        server.close()
        threading.Timer(0.5, lambda: again.append(socket.create_server(("127.0.0.1", port)))).start()
        return run(command, text)

    again = []
    assert node.converge(document(vni=7), batches(run, 1, closing), False, PENDING_RUN).seconds_to_confirm > 0
    again[0].close()


def test_warns_about_an_api_endpoint_unreachable_before(run, host, endpoint):
    server, address = endpoint
    server.close()
    outcome = node.converge(document(vni=7), run, False, PENDING_RUN)
    assert outcome.seconds_to_confirm > 0
    (warning,) = outcome.warnings
    assert f"the API endpoint {address} was unreachable before the change" in warning


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:x", "10.0.0.1:0", ":6443", "10.0.0.1:6443 10.0.0.2:6443"])
def test_rejects_a_malformed_endpoint_record_before_a_change(run, host, text):
    (host / STATE.lstrip("/") / "api-endpoint").write_text(text)
    before = everything(run)
    with pytest.raises(
        ValidationError, match=r"api-endpoint holds .* instead of one line host:port: correct the file or remove it"
    ):
        node.converge(document(vni=7), run, False, PENDING_RUN)
    assert everything(run) == before


# --- options and devices ---


@pytest.mark.parametrize("seconds", [-1, 1, 2, 3601])
def test_rejects_a_timeout_out_of_range(run, host, seconds):
    words = rf"confirm_timeout \(overlay_confirm_timeout\) {seconds} is not between 3 and 3600 seconds"
    with pytest.raises(ValidationError, match=words):
        node.converge(document(vni=7), run, False, with_confirmation(seconds))


def test_timeout_zero_saves_at_once(run, host):
    outcome = node.converge(document(vni=7), run, False, with_confirmation(0))
    assert outcome.seconds_to_confirm is None
    assert run.recorded == []
    assert not node.converge(document(vni=7), run, check=True).changed


def test_recreates_the_old_device_if_the_new_one_fails(run):
    spec = link.LinkSpec("vx0", 5, 8472, "10.0.1.11", mac="0a:58:0a:f4:09:00", mtu=1400, addresses=["10.244.9.0/32"])
    link.converge_link(spec, run, check=False)
    before = kernel(run)

    def refusing(command, text=None):
        if " id 6 " in (text or ""):
            run(["ip", "link", "del", "vx0"])
            return 1, "", "RTNETLINK answers: no such thing\nCommand failed -:2"
        return run(command, text)

    with pytest.raises(
        KernelError, match=r"no such thing .*; the former device was created again, without its entries"
    ):
        link.converge_link(spec._replace(vni=6), refusing, check=False)
    assert kernel(run) == before


def test_restore_script_and_module_use_the_same_directory():
    assert f"$run{PENDING.removeprefix('/run/tke-overlay')}/deadline" in programs.RESTORE_SH


def test_a_plan_that_became_old_while_it_waited_is_refused(run, host, monkeypatch):
    old, new = "41-aaaaaaaa", "42-bbbbbbbb 41-aaaaaaaa"
    node.converge(document(ledger_versions=old), run, check=False)
    exclusive = node.exclusive_change

    @contextlib.contextmanager
    def after_another_run(programs):
        monkeypatch.setattr(node, "exclusive_change", exclusive)
        node.converge(document(ledger_versions=new), programs, check=False)
        with exclusive(programs):
            yield

    monkeypatch.setattr(node, "exclusive_change", after_another_run)
    with pytest.raises(ValidationError, match="has applied ledger version 42-bbbbbbbb, and the plan has 41-aaaaaaaa"):
        node.converge(document(PEERS[:-1], ledger_versions=old), run, check=False)
    assert not node.converge(document(ledger_versions=new), run, check=False).changed
