# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The etcd store while members fail, answers are lost and the network is interrupted."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import re
import socket
import subprocess
import threading

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import etcd_client
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.migrate import inspect, migrate
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    IndeterminateWriteError,
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from members import CLIENT_PORTS, Etcd, until


def append(word):
    return lambda text: f"{text or ''}{word}\n"


class Writer:
    """Write one word after the other in a thread, until stopped."""

    def __init__(self, url):
        self.url, self.done, self.errors = url, [], []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self):
        store = open_store(self.url)
        for number in itertools.count():
            if self._stop.is_set():
                return
            try:
                store.transact(append(number))
                self.done.append(str(number))
            except ValidationError as refusal:
                self.errors.append(refusal)
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._stop.set()
        self._thread.join()

    def goes_on(self):
        """Wait until ten more writes are done."""
        enough = len(self.done) + 10
        until(lambda: self.errors or len(self.done) >= enough)
        assert not self.errors


def test_a_move_to_other_members_of_the_same_etcd_is_rejected(etcd):
    """The names show it where both have a member in common; otherwise only a write shows it."""
    ledger = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
    first, *others = etcd.names
    source, target = open_store(etcd.url(names=[first])), open_store(etcd.url(names=others))
    source.transact(lambda _none: ledger.text())
    assert source.is_same(open_store(etcd.url()))
    assert not source.is_same(open_store(etcd.url("other", names=[first])))
    with pytest.raises(ValidationError, match=f"{re.escape(target.where)} is the same place as"):
        migrate(inspect(source, target, "demo"), "2026-01-02T03:04:05Z")
    assert source.read() == ledger.text()


# --- failing members and network ---


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_writes_continue_when_one_member_is_killed(etcd, which):
    leader = etcd.leader()
    victim = leader if which == "leader" else next(name for name in etcd.names if name != leader)
    with Writer(etcd.url()) as writer:
        writer.goes_on()
        etcd.kill(victim)
        writer.goes_on()
        etcd.start(victim)
        until(lambda: etcd.status(victim))
        writer.goes_on()
    assert not writer.errors
    assert open_store(etcd.url()).read().split() == writer.done


def test_writes_continue_when_the_leader_is_unreachable(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "TIMEOUT", 1.0)
    leader = etcd.leader()
    others = [name for name in etcd.names if name != leader]
    with Writer(etcd.url(names=[leader, *others])) as writer:
        writer.goes_on()
        etcd.cut(leader)
        writer.goes_on()
    assert not writer.errors
    assert open_store(etcd.url(names=others)).read().split() == writer.done


def test_without_a_majority_nothing_is_written(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "TIMEOUT", 1.0)
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0, 0.1))
    open_store(etcd.url()).transact(append("one"))
    etcd.kill("two")
    etcd.kill("three")
    with pytest.raises(ValidationError) as caught:
        open_store(etcd.url()).transact(append("two"))
    assert "127.0.0.1:2379: no answer within 1 s" in str(caught.value)
    assert "127.0.0.1:3379: Connection refused" in str(caught.value)
    assert "127.0.0.1:4379: Connection refused" in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    for name in "two", "three":
        etcd.start(name)
    until(lambda: all(etcd.status(name) for name in etcd.names))
    open_store(etcd.url()).transact(append("three"))
    assert open_store(etcd.url()).read() == "one\nthree\n"


def test_unreachable_etcd_names_every_endpoint_and_reason(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0, 0.1))
    with pytest.raises(ValidationError) as caught:
        open_store("etcd://127.0.0.1:1,[::1]:1,nowhere.invalid/demo").read()
    assert str(caught.value).startswith(
        "the ledger etcd://127.0.0.1:1,[::1]:1,nowhere.invalid:2379/demo is unreachable (127.0.0.1:1: Connection "
        "refused; [::1]:1: Connection refused; nowhere.invalid:2379: "
    )
    assert type(caught.value) is ValidationError


# --- answers that are lost ---


class Proxy:
    """A proxy between the store and a member that handles each write as ``plan`` says.

    ``lose``: passes it on and loses the answer; ``drop``: does not pass it on;
    ``late``: passes it on only after ``release`` was set, and loses the answer;
    a number: answers with this HTTP status, and does not pass it on; ``full``:
    answers as an etcd does whose disk is full; ``body ...``: answers with that
    body; ``pass``: all in order. After the last: ``pass``.
    """

    def __init__(self, port, plan=(), meanwhile=lambda: None):
        self.port, self.plan, self.meanwhile = port, list(plan), meanwhile
        self.release = threading.Event()
        self.late_done = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.writes = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.release.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # ends a running accept(), which close() does not
        self._listener.close()
        self._thread.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.port)) as member:
            while self._one_request(client, member):
                pass

    def _one_request(self, client, member):
        request = _message(client)
        if not request:
            return False
        fate = "pass"
        if b"request_put" in request:
            self.writes += 1
            fate = self.plan.pop(0) if self.plan else "pass"
        if isinstance(fate, int) or fate.startswith("body "):
            status = f"{fate} Bad" if isinstance(fate, int) else "200 OK"
            body = "" if isinstance(fate, int) else fate[5:]
            client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            return True
        if fate == "full":
            body = '{"error": "etcdserver: mvcc: database space exceeded", "code": 8}'
            client.sendall(f"HTTP/1.1 429 Full\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            return True
        if fate == "late":
            threading.Thread(target=self._late, args=(request,), daemon=True).start()
            return False
        if fate == "drop":
            return False
        member.sendall(request)
        answer = _message(member)
        if fate == "lose":
            self.meanwhile()
            return False
        client.sendall(answer)
        return True

    def _late(self, request):
        self.release.wait()
        with socket.create_connection(("127.0.0.1", self.port)) as member:
            member.sendall(request)
            _message(member)
        self.late_done.set()


def _message(connection):
    """Return one complete HTTP message."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _mark, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)

    def whole():
        return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")

    while not whole():
        part = connection.recv(65536)
        if not part:
            return b""
        body += part
    return head + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "plan",
    [
        ["lose"],
        ["drop"],
        ["lose", "lose"],
        ["drop", "lose"],
        ["lose", "drop", "lose"],
        [500],
        [503, "lose"],
        ["body not JSON"],
        ["body []"],
        ["lose", 502],
    ],
    ids=str,
)
def test_write_with_a_lost_answer_is_carried_out_once(etcd, plan, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0, 0.1, 0.1, 0.1))
    with Proxy(CLIENT_PORTS["one"], plan) as proxy:
        store = open_store(f"etcd://{proxy.address}/demo")
        for word in "one", "two", "three":
            store.transact(append(word))
        assert proxy.writes == 3 + len(plan)
    assert open_store(etcd.url()).read() == "one\ntwo\nthree\n"
    assert [version.text for version in open_store(etcd.url()).previous()] == ["one\ntwo\n", "one\n"]


def test_lost_answer_is_found_at_the_next_endpoint(etcd):
    with Proxy(CLIENT_PORTS["one"], ["lose"]) as proxy:
        open_store(f"etcd://{proxy.address},127.0.0.1:{CLIENT_PORTS['two']}/demo").transact(append("one"))
        assert proxy.writes == 1
    assert open_store(etcd.url()).read() == "one\n"


def test_distinguishes_a_lost_answer_from_a_faster_writer(etcd):
    """The answer is lost and another writer writes before the retry: the write is carried out once."""

    def others():
        for number in range(5):
            open_store(etcd.url()).transact(append(f"other {number}"))

    with Proxy(CLIENT_PORTS["one"], ["lose"], meanwhile=others) as proxy:
        open_store(f"etcd://{proxy.address}/demo").transact(append("mine"))
    words = open_store(etcd.url()).read().splitlines()
    assert words == ["mine", *(f"other {number}" for number in range(5))]


def test_lost_write_after_a_faster_writer_is_repeated(etcd):
    open_store(etcd.url()).transact(append("first"))
    dropped = threading.Event()

    def change(text):
        if not dropped.is_set():
            dropped.set()
            open_store(etcd.url()).transact(append("other"))
        return f"{text}mine\n"

    with Proxy(CLIENT_PORTS["one"], ["drop"]) as proxy:
        open_store(f"etcd://{proxy.address}/demo").transact(change)
    assert open_store(etcd.url()).read() == "first\nother\nmine\n"


def test_late_write_changes_nothing(etcd):
    with Proxy(CLIENT_PORTS["one"], ["late"]) as proxy:
        store = open_store(f"etcd://{proxy.address}/demo")
        store.transact(append("one"))
        store.transact(append("two"))
        proxy.release.set()
        assert proxy.late_done.wait(10)
        assert store.read() == "one\ntwo\n"


def test_too_many_writes_after_a_lost_answer_are_indeterminate(etcd):
    def others():
        store = open_store(etcd.url())
        for number in range(70):
            store.transact(append(number))

    with (
        Proxy(CLIENT_PORTS["one"], ["lose"], meanwhile=others) as proxy,
        pytest.raises(IndeterminateWriteError, match="may not have been carried out"),
    ):
        open_store(f"etcd://{proxy.address}/demo").transact(append("mine"))


def test_lost_answer_of_an_unreachable_etcd_is_indeterminate(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0, 0.1))
    with (
        Proxy(CLIENT_PORTS["one"], ["lose", "drop"]) as proxy,
        pytest.raises(IndeterminateWriteError, match="may have been written"),
    ):
        open_store(f"etcd://{proxy.address}/demo").transact(append("one"))
    assert open_store(etcd.url()).read() == "one\n"


def test_full_etcd_is_an_error_or_indeterminate(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0, 0.1))
    with (
        Proxy(CLIENT_PORTS["one"], ["full"]) as proxy,
        pytest.raises(ValidationError, match="compact and defragment") as caught,
    ):
        open_store(f"etcd://{proxy.address}/demo").transact(append("one"))
    assert type(caught.value) is ValidationError
    with (
        Proxy(CLIENT_PORTS["one"], ["lose", "full"]) as proxy,
        pytest.raises(IndeterminateWriteError, match="compact and defragment"),
    ):
        open_store(f"etcd://{proxy.address}/demo").transact(append("one"))
    assert open_store(etcd.url()).read() == "one\n"


def test_unresponsive_member_is_tried_once_and_then_last(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as dead:
        store = open_store(f"etcd://127.0.0.1:{dead.getsockname()[1]},127.0.0.1:2379/demo")
        for number in range(3):
            store.transact(append(number))
        dead.settimeout(0.1)
        dead.accept()[0].close()
        with pytest.raises(TimeoutError):
            dead.accept()


def test_read_with_lost_answers_changes_nothing(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0, 0.1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(etcd_client, "TIMEOUT", 0.2)
        with pytest.raises(ValidationError, match=r"no answer within 0.2 s\); nothing was changed") as caught:
            open_store(f"etcd://{address}/demo").read()
    assert type(caught.value) is ValidationError


# --- rejected requests ---


def test_faster_writers_are_an_error_after_the_timeout(etcd):
    store = open_store(etcd.url())
    store._patience = 0.3
    other = open_store(etcd.url())

    def change(text):
        other.transact(append("other"))
        return f"{text}mine\n"

    with pytest.raises(ValidationError, match=r"changed by other writers for 0\.3 s; this run changed nothing"):
        store.transact(change)
    assert "mine" not in other.read()


@pytest.mark.parametrize(("size", "words"), [(1_200_000, "request is too large"), (3_000_000, "larger than max")])
def test_oversized_ledger_is_rejected_at_once(etcd, size, words, monkeypatch):
    store = open_store(etcd.url())
    store.transact(append("one"))
    asked, post = [], etcd_client.EtcdMember._post

    def counted(member, path, payload):
        asked.append(path)
        return post(member, path, payload)

    monkeypatch.setattr(etcd_client.EtcdMember, "_post", counted)
    with pytest.raises(ValidationError, match=f"{words}.*; nothing was changed; raise --max-request-bytes"):
        store.transact(lambda text: os.urandom(size).hex())
    assert asked == ["/kv/txn"] * 2, "one read and one attempt to write"
    assert store.read() == "one\n"


def test_rejects_a_foreign_value(etcd):
    url = etcd.url()
    for value in (b"\xff\xfe", b"H4sIAAAA"):
        subprocess.run(["etcdctl", "put", "demo/ledger"], input=value, check=True, env=etcdctl())
        with pytest.raises(ValidationError, match=r"the ledger etcd://.*/demo cannot be read"):
            open_store(url).read()


def etcdctl():
    return {"PATH": os.environ["PATH"], "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": "127.0.0.1:2379"}


# --- what an operator does with etcdctl ---


@pytest.mark.parametrize("size", [10, 200_000])
def test_restore_command_restores_a_previous_version(etcd, size):
    store = open_store(etcd.url())
    for letter in "abc":
        store.transact(lambda text, letter=letter: "{" + letter * size + "}\n")
    newest = store.previous()[0]
    subprocess.run(["sh", "-c", newest.restore], check=True, env=etcdctl(), stdout=subprocess.DEVNULL)
    assert store.read().strip() == "{" + "b" * size + "}"
    store.transact(lambda text: "and on")
    assert store.read() == "and on"


def test_etcdctl_reads_a_small_ledger(etcd):
    open_store(etcd.url()).transact(lambda text: '{\n "schema": 1\n}')
    out = subprocess.run(
        ["etcdctl", "get", "--print-value-only", "demo/ledger"], check=True, env=etcdctl(), stdout=subprocess.PIPE
    ).stdout
    assert out == b'{\n "schema": 1\n}\n'


def test_keeps_copies_made_by_hand(etcd):
    store = open_store(etcd.url())
    subprocess.run(
        ["etcdctl", "put", "demo/ledger.before-the-move", "mine"],
        check=True,
        env=etcdctl(),
        stdout=subprocess.DEVNULL,
    )
    for number in range(8):
        store.transact(append(number))
    assert len(store.previous()) == 3
    assert etcd.post("/kv/range", {"key": "ZGVtby9sZWRnZXIuYmVmb3JlLXRoZS1tb3Zl"})["count"] == "1"


def test_versions_of_a_copied_etcd_are_older_than_its_own(etcd):
    """After all keys were copied to another etcd, which counts from 1, its revisions are lower than those in names."""

    def put(key, value):
        encoded = [base64.b64encode(text.encode()).decode() for text in (key, value)]
        etcd.post("/kv/put", dict(zip(["key", "value"], encoded, strict=True)))

    for number in range(3):
        put(f"demo/ledger.{999_999_990 + number:012}", f"copied {number}")
    put("demo/ledger", "copied 3")
    store = open_store(etcd.url())
    expected = ["copied 2", "copied 1", "copied 0"]
    for number in range(5):
        assert [version.text for version in store.previous()] == expected
        expected = [store.read(), *expected[:2]]
        store.transact(lambda text, number=number: f"own {number}")


# --- logins, TLS, IPv6: a member of its own each ---


@pytest.fixture
def single(three_members, tmp_path):
    """Return a function that starts an etcd of one member in the same namespace; stop it at the end."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            one = Etcd(tmp_path, names=("single",), **options)
            stack.callback(one.stop)
            one.start("single")
            return one

        yield make


def test_supports_ipv6_endpoints(single):
    member = single(host="[::1]")
    until(lambda: member.status("single"))
    store = open_store("etcd://[::1]:5379/demo")
    store.transact(append("one"))
    assert store.read() == "one\n"
    assert store.where == "etcd://[::1]:5379/demo"


def test_login_uses_the_variables_of_etcdctl(single, monkeypatch, tmp_path):
    member = single()
    until(lambda: member.status("single"))
    member.post("/auth/user/add", {"name": "root", "password": "r"}, "single")
    member.post("/auth/user/add", {"name": "overlay", "password": "right"}, "single")
    member.post("/auth/role/add", {"name": "demo"}, "single")
    keys = {"permType": "READWRITE", "key": "ZGVtby8=", "range_end": "ZGVtbzA="}  # demo/ to demo0
    member.post("/auth/role/grant", {"name": "demo", "perm": keys}, "single")
    keys = {"permType": "READ", "key": "b3RoZXIv", "range_end": "b3RoZXIw"}  # other/ to other0
    member.post("/auth/role/grant", {"name": "demo", "perm": keys}, "single")
    member.post("/auth/user/grant", {"user": "overlay", "role": "demo"}, "single")
    member.post("/auth/user/grant", {"user": "root", "role": "root"}, "single")
    member.post("/auth/enable", {}, "single")
    url = "etcd://127.0.0.1:5379/demo"
    with pytest.raises(ValidationError, match="it requires a login: set ETCDCTL_USER"):
        open_store(url).read()
    monkeypatch.setenv("ETCDCTL_USER", "overlay:wrong")
    with pytest.raises(ValidationError, match="authentication failed") as caught:
        open_store(url).read()
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("ETCDCTL_USER", "overlay")
    monkeypatch.setenv("ETCDCTL_PASSWORD", "right")
    store = open_store(url)
    store.transact(append("one"))
    with pytest.raises(ValidationError, match="permission denied; nothing was changed"):
        open_store("etcd://127.0.0.1:5379/other").transact(append("one"))
    store.check_writable()
    assert open_store("etcd://127.0.0.1:5379/other").read() is None
    with pytest.raises(ValidationError, match="permission denied; nothing was changed"):
        open_store("etcd://127.0.0.1:5379/other").check_writable()
    # A restarted member rejects its earlier tokens, so the store logs in again.
    member.kill("single")
    member.start("single")
    store.transact(append("two"))
    monkeypatch.delenv("ETCDCTL_USER")
    monkeypatch.delenv("ETCDCTL_PASSWORD")
    (tmp_path / "password").write_text("right\n")
    assert open_store(f"{url}?user=overlay&password_file={tmp_path}/password").read() == "one\ntwo\n"


@pytest.fixture
def certificates(tmp_path):
    """Create a CA, a certificate for 127.0.0.1 and a client certificate."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=tmp_path, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl(*new, "-x509", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.crt")
    for name in "server", "client":
        more = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        openssl(
            *new, "-x509", "-CA", "ca.crt", "-CAkey", "ca.key", *more, "-keyout", f"{name}.key", "-out", f"{name}.crt"
        )
    return tmp_path


def test_supports_mutual_tls(single, certificates, monkeypatch):
    single(
        scheme="https",
        tls=[
            f"--cert-file={certificates}/server.crt",
            f"--key-file={certificates}/server.key",
            f"--trusted-ca-file={certificates}/ca.crt",
            "--client-cert-auth",
        ],
    )
    url = "etcds://127.0.0.1:5379/demo"
    monkeypatch.setenv("ETCDCTL_CACERT", f"{certificates}/ca.crt")
    monkeypatch.setenv("ETCDCTL_CERT", f"{certificates}/client.crt")
    monkeypatch.setenv("ETCDCTL_KEY", f"{certificates}/client.key")
    store = open_store(url)

    def answers():
        with contextlib.suppress(ValidationError):
            store.transact(append("one"))
            return True

    until(answers)
    assert store.read() == "one\n"
    for name in "CERT", "KEY", "CACERT":
        monkeypatch.delenv(f"ETCDCTL_{name}")
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0,))
    with pytest.raises(ValidationError, match="certificate verify failed"):
        open_store(url).read()
    with pytest.raises(ValidationError, match="is unreachable"):
        open_store(f"{url}?cacert={certificates}/ca.crt").read()
    parts = "&".join(
        f"{name}={certificates}/{file}"
        for name, file in (("cacert", "ca.crt"), ("cert", "client.crt"), ("key", "client.key"))
    )
    assert open_store(f"{url}?{parts}").read() == "one\n"


def test_plain_http_to_a_tls_member_is_an_error(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0,))
    with pytest.raises(ValidationError, match="is unreachable"):
        open_store("etcds://127.0.0.1:2379/demo").read()


def test_service_other_than_etcd_is_an_error(etcd, monkeypatch):
    monkeypatch.setattr(etcd_client, "PAUSES", (0.0,))
    with pytest.raises(ValidationError, match="is unreachable"):
        open_store("etcd://127.0.0.1:2380/demo").read()  # the port of the other members
