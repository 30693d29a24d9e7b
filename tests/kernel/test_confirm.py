# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A change waits for its confirmation: what ends it, either way, and what no accident in between can leave behind."""

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
from ansible_collections.tke.overlay.plugins.module_utils._host.commit import confirmed_commit as confirm
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    PENDING,
    RECORD,
    Confirmation,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel import link
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state import paths, programs
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts
from breakages import PEERS, document, everything

WAITING = Confirmation("token", 30)
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
    },
}


class Armed:
    """Runs programs, but for systemd's: those are only noted."""

    def __init__(self, run):
        self.run, self.noted, self.answer = run, [], (0, "", "")

    def __call__(self, command, text=None):
        if command[0] in ("systemd-run", "systemctl"):
            self.noted.append(command)
            return self.answer
        return self.run(command, text)


@pytest.fixture
def run(run):
    """As for all tests here, but that systemd's programs are not run."""
    return Armed(run)


@pytest.fixture
def root(run, tmp_path, monkeypatch):
    """A host with systemd that was never a node; its files are below a directory of the test."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    units = {paths.SERVICE: "enabled", paths.TIMER: "enabled active"}
    monkeypatch.setattr(node, "read_host", lambda _run: HostFacts(True, units, False, (6, 1)))
    monkeypatch.setattr(node, "unit_commands", lambda *_: [])
    return tmp_path


@pytest.fixture
def host(run, root):
    """The same as a node."""
    node.converge(document(), run, check=False)
    return root


def waiting(run, **changes):
    """Makes a change that waits."""
    assert node.converge(document(**changes), run, False, confirmation=WAITING).waits > 0


def script(root, name, *arguments, **environment):
    """Runs a script of the change that waits, or of the saved state."""
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
    """All files of the host, by path."""
    return {str(path): path.read_text() for path in (root / below).rglob("*") if path.is_file()}


def kernel(run):
    """All that the kernel lists, but for the number that a device made anew has got."""
    return {
        command: sorted(re.sub(r'"(ifindex|link_index)": \d+, ', "", row) for row in rows)
        for command, rows in everything(run).items()
    }


def record(root):
    """What the host says of the last roll-back: the token, what is left over, why."""
    return (root / RECORD.lstrip("/")).read_text().splitlines()


@pytest.mark.parametrize("change", CHANGES)
def test_unconfirmed_it_goes_back_whole(run, host, change):
    before, saved = kernel(run), texts(host)
    waiting(run, **CHANGES[change])
    assert kernel(run) != before
    assert texts(host) == saved, "a reboot would come up with the old plan"
    code, told, complaints = script(host, "undo", "nobody asked")
    assert (code, complaints) == (0, "")
    assert told.endswith("tke-overlay: rolled a change back: nobody asked\n")
    assert (kernel(run), texts(host)) == (before, saved)
    assert record(host) == ["token", "whole", "nobody asked"]
    assert not (host / PENDING.lstrip("/")).exists()
    assert not node.converge(document(), run, check=True).changed


@pytest.mark.parametrize("change", [{}, *CHANGES.values()])
def test_confirmed_it_is_saved_whole(run, root, change):
    if change:
        node.converge(document(), run, check=False)
    waiting(run, **change)
    changed = everything(run)
    assert script(root, "confirm", "token") == (0, "", "")
    assert everything(run) == changed
    assert not node.converge(document(**change), run, check=True).changed
    assert script(root, "restore") == (0, "", "")
    assert sorted(os.listdir(root / "run/tke-overlay")) == ["lock", "rules.listing", "rules.nft"]
    assert list((root / "etc").rglob(".tke-overlay")) == []
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in (root / "etc").rglob("*") if path.is_file())


def test_what_a_loss_of_power_left_beside_the_files_is_not_saved(run, host):
    left = host / "etc/tke-overlay/.tke-overlay"
    left.mkdir()
    (left / "summary").write_text("of a plan that never came to be\n")
    (left / "api-endpoint").write_text("10.0.2.9:6443\n")
    waiting(run, **CHANGES["peers"])
    assert script(host, "confirm", "token") == (0, "", "")
    assert not left.exists()
    assert not (host / "etc/tke-overlay/api-endpoint").exists()


CUT_SHORT = r"""
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


def loses_power_while_it_confirms(run, host, moves):
    """Confirms the change that waits until so many files have moved; then, as after a boot, all but the disk is gone.

    :returns: whether it came to its end before.
    """
    path = host / PENDING.lstrip("/") / "confirm"
    text = path.read_text()
    assert "set -u\n" in text
    path.write_text(text.replace("set -u\n", f"set -u\n{CUT_SHORT.replace('COUNT', str(moves))}", 1))
    code, _out, _errors = script(host, "confirm", "token")
    assert code in (0, -signal.SIGKILL)
    shutil.rmtree(host / "run")
    run(["ip", "link", "del", "tke0"])
    run(["nft", "delete", "table", "inet", "tke_overlay"])
    return code == 0


@pytest.mark.parametrize("finisher", ["script", "module"])
def test_wherever_a_loss_of_power_cuts_a_confirmation_short_the_saved_state_is_one_plan(run, host, finisher):
    old, new = document(), document(port=4789, fleet=fleet_text(PEERS[:4]))
    met = []
    for moves in itertools.count():
        assert node.converge(new, run, False, confirmation=WAITING).waits > 0
        ended = loses_power_while_it_confirms(run, host, moves)
        if finisher == "script":
            assert script(host, "restore")[::2] == (0, "")
        else:
            node.converge(new if moves else old, run, check=False)
        assert list((host / "etc").rglob(".confirmed")) == []
        (plan,) = [plan for plan in (old, new) if not node.converge(plan, run, check=True).changed]
        met.append("old" if plan is old else "new")
        if ended:
            break
        node.converge(old, run, check=False)
    assert met == sorted(met, reverse=True), "once it counts, it counts"
    assert met.count("old") == 1
    assert met.count("new") >= 5


def test_a_first_time_host_is_as_if_never_touched(run, root):
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as stream:
        stream.write("0")
    before = everything(run)
    waiting(run)
    assert texts(root) == {}
    drop_ins = {name.removeprefix(f"{root}/run/") for name in texts(root, "run") if name.endswith((".link", ".conf"))}
    assert {"systemd/network/10-tke-overlay.link", "sysctl.d/99-tke-overlay.conf"} <= drop_ins
    assert script(root, "undo")[::2] == (0, "")
    assert everything(run) == before
    assert {name.removeprefix(f"{root}/") for name in texts(root, ".")} == {
        "run/tke-overlay/lock",
        "run/tke-overlay/rolled-back",
    }
    with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as stream:
        assert stream.read() == "0\n"


def test_drop_ins_that_stand_in_below_run_make_room_for_the_saved_ones(run, root):
    waiting(run)
    script(root, "confirm", "token")
    assert not [name for name in texts(root, "run") if name.endswith((".link", ".conf"))]
    assert (root / "etc/systemd/network/10-tke-overlay.link").exists()


def test_a_node_without_saved_state_gets_back_what_the_kernel_held(run, host):
    for line in ("link set tke0 mtu 1300", "route del 10.244.1.0/24", "neigh del 10.244.2.0 dev tke0"):
        assert run(["ip", *line.split()])[0] == 0
    shutil.rmtree(host / STATE.lstrip("/"))
    before = kernel(run)
    waiting(run, vni=7, fleet=fleet_text(PEERS[:4]))
    assert script(host, "undo")[::2] == (0, "")
    assert kernel(run) == before
    assert not (host / STATE.lstrip("/")).exists()


def test_the_pod_bridge_gets_its_address_back(run, host):
    for line in ("link add tke-br0 type bridge", "address add 10.244.3.1/24 dev tke-br0"):
        assert run(["ip", *line.split()])[0] == 0
    waiting(run, mtu=1400)
    assert "10.244.3.1" not in run(["ip", "address", "show", "dev", "tke-br0"])[1]
    script(host, "undo")
    assert "10.244.3.1/24" in run(["ip", "address", "show", "dev", "tke-br0"])[1]


def test_while_it_waits_the_timer_of_the_saved_state_leaves_it_alone(run, host):
    waiting(run, vni=7)
    changed = everything(run)
    assert script(host, "restore") == (0, "", "")
    assert everything(run) == changed


def test_should_the_transient_timer_be_lost_that_of_the_saved_state_stands_in(run, host):
    before = kernel(run)
    waiting(run, vni=7)
    (host / PENDING.lstrip("/") / "deadline").write_text("0\n")
    assert script(host, "restore")[0] == 0
    assert kernel(run) == before
    assert record(host)[1:] == ["whole", "it was not confirmed, and its timer was lost"]


def test_the_timer_is_set_before_the_first_change_and_without_it_nothing_changes(run, host):
    before, saved = everything(run), texts(host)
    run.answer = (1, "", "no bus")
    with pytest.raises(KernelError, match=r"nothing was changed, because a timer .* cannot be set: .*: no bus"):
        node.converge(document(vni=7), run, False, confirmation=WAITING)
    assert (everything(run), texts(host)) == (before, saved)
    assert not (host / PENDING.lstrip("/")).exists()
    run.answer = (0, "", "")
    waiting(run, vni=7)
    command = run.noted[-1]
    assert "--on-active=30" in command
    assert command[-3:-1] == ("/bin/sh", f"{PENDING}/undo")


def test_nothing_waits_where_the_kernel_is_as_it_should_be(run, host):
    outcome = node.converge(document(cluster="renamed"), run, False, confirmation=WAITING)
    assert outcome.changed
    assert outcome.waits is None
    assert not any(command[0] == "systemd-run" for command in run.noted)
    assert "cluster: renamed" in (host / STATE.lstrip("/") / "summary").read_text()


def test_another_token_confirms_nothing_and_neither_does_the_right_one_too_late(run, host):
    before, saved = everything(run), texts(host)
    waiting(run, mtu=1400)
    assert script(host, "confirm", "other")[0] == 3
    assert script(host, "confirm")[0] == 3
    assert texts(host) == saved
    late = host / "late"
    shutil.copytree(host / PENDING.lstrip("/"), late)
    assert script(host, "undo")[0] == 0
    shutil.copytree(late, host / PENDING.lstrip("/"))
    (host / PENDING.lstrip("/") / "deadline").unlink()  # as while it is being undone
    assert script(host, "confirm", "token")[0] == 3
    assert everything(run) == before


def batches(run, at, accident):
    """Runs programs; before the batch of this number something happens."""
    numbers = itertools.count()

    def stopped(command, text=None):
        if text and command[0] in ("ip", "bridge", "nft") and next(numbers) == at:
            return accident(command, text)
        return run(command, text)

    return stopped


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "node"])
def test_whatever_fails_after_the_first_change_it_goes_back_at_once_and_both_are_told(run, root, fresh):
    if not fresh:
        node.converge(document(PEERS[:3]), run, check=False)
    before, saved = kernel(run), texts(root)
    # A device that is made gets its neighbours and routes in the same batch. The rules of a node stay as they are.
    for at in range(3 if fresh else 2):
        failing = batches(run, at, lambda *_: (1, "", "RTNETLINK answers: nonsense\nCommand failed -:1"))
        with pytest.raises(KernelError, match=r"(?s)nonsense.*the change was rolled back, and the host is as it was"):
            node.converge(document(vni=7), failing, check=False)
        assert (kernel(run), texts(root)) == (before, saved)


def test_an_exception_is_no_other_case(run, host):
    before = kernel(run)

    def broken(*_arguments):
        raise MemoryError("no room")

    words = r"MemoryError: no room; the change was rolled back, and the host is as it was before"
    with pytest.raises(KernelError, match=words):
        node.converge(document(vni=7), batches(run, 1, broken), check=False)
    assert kernel(run) == before


@pytest.mark.parametrize("at", range(2))
def test_killed_half_way_the_timer_brings_the_old_plan_back(run, host, at):
    before, saved = kernel(run), texts(host)
    child = os.fork()
    if child == 0:
        killed = batches(run, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with contextlib.suppress(BaseException):
            node.converge(document(vni=7), killed, False, confirmation=WAITING)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert script(host, "undo")[::2] == (0, "")
    assert (kernel(run), texts(host)) == (before, saved)


def test_a_run_that_hangs_half_way_is_ended(run, host, monkeypatch):
    before = kernel(run)
    monkeypatch.setattr(confirm, "LOCK_SECONDS", 1)
    child = os.fork()
    if child == 0:
        hanging = batches(run, 1, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        with contextlib.suppress(BaseException):
            node.converge(document(vni=7), hanging, False, confirmation=WAITING)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    assert script(host, "undo")[::2] == (0, "")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert kernel(run) == before


def test_what_cannot_be_saved_is_rolled_back(run, root):
    before = everything(run)
    waiting(run)
    (root / "etc").mkdir()
    (root / "etc/cni").write_text("in the way")
    code, _out, errors = script(root, "confirm", "token")
    assert code == 1
    assert "etc/cni" in errors
    assert everything(run) == before
    assert set(texts(root)) == {f"{root}/etc/cni"}
    assert record(root)[1] == "whole"
    with pytest.raises(KernelError, match=r"could not be saved: .*etc/cni.*; the change was rolled back"):
        node.converge(document(), run, check=False)
    assert everything(run) == before


def test_what_is_not_as_before_is_told(run, host):
    waiting(run, mtu=1400)
    batch = host / STATE.lstrip("/") / "route.batch"
    batch.write_text(batch.read_text() + "route replace 10.244.9.0/24 via 224.0.0.1 dev tke0 onlink proto 84\n")
    code, _told, complaints = script(host, "undo")
    assert code == 1
    assert "not as before" in complaints
    assert "the change was rolled back, but the host is not as it was before: " in confirm.rollback_summary(
        (host / RECORD.lstrip("/")).read_text(), "token"
    )


# --- one after the other ---


def test_a_change_that_was_left_behind_is_undone_before_the_next(run, host):
    waiting(run, vni=7)
    (host / PENDING.lstrip("/") / "deadline").write_text("0\n")
    outcome = node.converge(document(mtu=1400), run, check=False)
    assert outcome.link.before == {"mtu": "1450"}, "compared with the old plan, not with the one that was given up"


def test_the_next_run_waits_for_the_end_of_this_one(run, host, monkeypatch):
    waiting(run, mtu=1400)
    threading.Timer(0.3, script, (host, "confirm", "token")).start()
    start = time.monotonic()
    assert node.converge(document(mtu=1400), run, check=False).changed is False
    assert time.monotonic() - start > 0.2
    waiting(run, mtu=1300)
    monkeypatch.setattr(confirm, "LOCK_SECONDS", 0)
    with pytest.raises(KernelError, match="the change of another run has waited for its confirmation"):
        node.converge(document(), run, check=False)
    assert script(host, "confirm", "token")[0] == 0, "it was left alone"


def test_who_takes_the_host_out_does_not_get_it_back(run, host):
    waiting(run, vni=7)
    for left in ("tke-overlay/.tke-overlay", "tke-overlay/.confirmed", "systemd/system/.tke-overlay"):
        (host / "etc" / left).mkdir()
        (host / "etc" / left / "summary").write_text("of a plan that never came to be\n")
    reset.remove("tke0", "tke-br0", run, check=False)
    assert not any("tke" in row for rows in everything(run).values() for row in rows)
    assert {name.removeprefix(f"{host}/") for name in texts(host, ".")} == {"run/tke-overlay/lock"}


# --- the API endpoint ---


@pytest.fixture
def endpoint(host):
    """A server on the host, and the note that it is the API endpoint."""
    server = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{server.getsockname()[1]}"
    (host / STATE.lstrip("/") / "api-endpoint").write_text(f"{address}\n")
    yield server, address
    server.close()


def test_a_change_that_takes_the_api_endpoint_away_is_rolled_back_and_names_it(run, host, endpoint):
    server, address = endpoint
    before, saved = kernel(run), texts(host)

    def closing(command, text):
        server.close()
        return run(command, text)

    words = (
        rf"cut this host off from its API endpoint: {address} .*answered before.*refused.*the change was rolled back"
    )
    with pytest.raises(KernelError, match=words):
        node.converge(document(vni=7), batches(run, 1, closing), False, confirmation=Confirmation("token", 3))
    assert (kernel(run), texts(host)) == (before, saved)


def test_an_api_endpoint_that_answers_again_in_time_is_enough(run, host, endpoint):
    server, address = endpoint
    port = int(address.partition(":")[2])

    def closing(command, text):
        server.close()
        threading.Timer(0.5, lambda: again.append(socket.create_server(("127.0.0.1", port)))).start()
        return run(command, text)

    again = []
    assert node.converge(document(vni=7), batches(run, 1, closing), False, confirmation=WAITING).waits > 0
    again[0].close()


def test_an_api_endpoint_that_did_not_answer_before_is_not_asked_but_told(run, host, endpoint):
    server, address = endpoint
    server.close()
    outcome = node.converge(document(vni=7), run, False, confirmation=WAITING)
    assert outcome.waits > 0
    (warning,) = outcome.warnings
    assert f"the API endpoint {address} did not answer before the change" in warning


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:x", "10.0.0.1:0", ":6443", "10.0.0.1:6443 10.0.0.2:6443"])
def test_a_note_that_is_no_endpoint_is_refused_before_anything_changes(run, host, text):
    (host / STATE.lstrip("/") / "api-endpoint").write_text(text)
    before = everything(run)
    with pytest.raises(ValidationError, match="api-endpoint is not one line host:port"):
        node.converge(document(vni=7), run, False, confirmation=WAITING)
    assert everything(run) == before


def test_an_ipv6_endpoint_is_understood(host):
    (host / STATE.lstrip("/") / "api-endpoint").write_text("[2001:db8::1]:6443\n")
    assert str(confirm.recorded_endpoint()) == "[2001:db8::1]:6443"
    assert confirm.recorded_endpoint() == ("2001:db8::1", 6443)


# --- the rest ---


@pytest.mark.parametrize("seconds", [-1, 1, 2, 3601])
def test_a_time_that_makes_no_sense_is_refused(run, host, seconds):
    with pytest.raises(
        ValidationError, match=f"confirm_timeout {seconds} .overlay_confirm_timeout. does not lie between 3"
    ):
        node.converge(document(vni=7), run, False, confirmation=Confirmation("token", seconds))


def test_with_no_time_at_all_it_is_saved_at_once(run, host):
    outcome = node.converge(document(vni=7), run, False, confirmation=Confirmation("token", 0))
    assert outcome.waits is None
    assert run.noted == []
    assert not node.converge(document(vni=7), run, check=True).changed


def test_a_device_that_cannot_be_made_anew_is_made_again_as_it_was(run):
    spec = link.LinkSpec("vx0", 5, 8472, "10.0.1.11", mac="0a:58:0a:f4:09:00", mtu=1400, addresses=["10.244.9.0/32"])
    link.converge_link(spec, run, check=False)
    before = kernel(run)

    def refusing(command, text=None):
        if " id 6 " in (text or ""):
            run(["ip", "link", "del", "vx0"])
            return 1, "", "RTNETLINK answers: nonsense\nCommand failed -:2"
        return run(command, text)

    with pytest.raises(KernelError, match=r"nonsense .*; the former device was created again, without its entries"):
        link.converge_link(spec._replace(vni=6), refusing, check=False)
    assert kernel(run) == before


def test_the_script_of_the_saved_state_knows_where_a_change_waits():
    assert f"$run{PENDING.removeprefix('/run/tke-overlay')}/deadline" in programs.RESTORE_SH
