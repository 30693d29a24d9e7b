# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The program of the test's Pods: answers requests, and sends counted ones itself.

It answers HTTP on port 8080, HTTPS on port 8443 (with the certificate of /etc/agent, also as an admission webhook that
allows everything), UDP on port 8081 with its host name, and lines on TCP connections to port 8082 with the same line.
`/ask?url=...&count=...&rate=...` sends so many requests, each on a new connection, and answers with the numbers of sent
and lost ones. `/begin?host=...` opens a TCP connection and sends lines on it until `/end?host=...`, which has the
numbers. `agent.py ask URL COUNT RATE SECONDS` asks once, and `agent.py dns NAME=ADDRESS...` is a DNS server. Runs with
Python 3.9, too.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import http.server
import json
import os
import pathlib
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.parse
from typing import Any

HTTP, UDP, LINES, HTTPS, DNS = 8080, 8081, 8082, 8443, 53
ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
CERTIFICATE = pathlib.Path("/etc/agent/tls.crt")
NAME = os.environ.get("NODE_NAME") or socket.gethostname()


def one(target: urllib.parse.SplitResult, seconds: float) -> str:
    """Send one request and return the answer. The text of an error begins with its kind."""
    port = target.port or 0
    host = target.hostname or ""
    if target.scheme == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(seconds)
            sock.sendto(target.path.encode() or b"?", (host, port))
            return sock.recv(65536).decode()
    if target.scheme == "dns":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(seconds)
            name = target.path.strip("/")
            labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
            sock.sendto(struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1", (host, port or DNS))
            return socket.inet_ntoa(sock.recv(512)[-4:])
    connection: http.client.HTTPConnection
    if target.scheme == "https":
        ca = ACCOUNT / "ca.crt"
        context = ssl.create_default_context(cafile=str(ca) if ca.exists() else None)
        connection = http.client.HTTPSConnection(host, port or 443, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, port or 80, timeout=seconds)
    try:
        connection.request("GET", target.path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status != 200:
            raise OSError(f"HTTP status {response.status}")
        return text
    finally:
        connection.close()


def ask(url: str, count: int, rate: float, seconds: float) -> dict[str, Any]:
    """Send requests at a rate and return how many were sent and lost, and the longest time without an answer."""
    target = urllib.parse.urlsplit(url)
    answers: dict[str, int] = {}
    errors: dict[str, int] = {}
    good: list[float] = []
    lock = threading.Lock()

    def send() -> None:
        began = time.monotonic()
        try:
            text, table = one(target, seconds).strip()[:80], answers
        except Exception as error:
            text, table = f"{type(error).__name__}: {error}", errors
        with lock:
            table[text] = table.get(text, 0) + 1
            if table is answers:
                good.append(began)

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        for number in range(count):
            time.sleep(max(start + number / rate - time.monotonic(), 0))
            pool.submit(send)
    gap, last = 0.0, start
    for moment in [*sorted(good), start + count / rate]:
        gap, last = max(gap, moment - last), moment
    return {"sent": count, "lost": sum(errors.values()), "gap": round(gap, 2), "answers": answers, "errors": errors}


class Lines(socketserver.StreamRequestHandler):
    """Answers each line of a connection with the same line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class Connection:
    """One TCP connection, on which a thread sends numbered lines until :meth:`end`. It is never opened again."""

    RATE, SECONDS = 10, 20.0

    def __init__(self, host: str) -> None:
        self.sent = self.lost = 0
        self.gap = 0.0
        self.errors: dict[str, int] = {}
        self._ended = threading.Event()
        self._socket = socket.create_connection((host, LINES), self.SECONDS)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        answers = self._socket.makefile("rb")
        broken = ""
        while not self._ended.wait(1 / self.RATE):
            line, began = b"%d\n" % self.sent, time.monotonic()
            self.sent += 1
            try:
                if not broken:
                    self._socket.sendall(line)
                    if answers.readline() != line:
                        raise OSError("another answer, or the end of the connection")
            except OSError as error:
                broken = f"{type(error).__name__}: {error}"
            self.gap = max(self.gap, time.monotonic() - began)
            if broken:
                self.lost += 1
                self.errors[broken] = self.errors.get(broken, 0) + 1

    def end(self) -> dict[str, Any]:
        """Close the connection and return the numbers."""
        self._ended.set()
        self._thread.join(self.SECONDS + 5)
        self._socket.close()
        return {"sent": self.sent, "lost": self.lost, "gap": round(self.gap, 2), "errors": self.errors}


CONNECTIONS: dict[str, Connection] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the name of the node and the address of the client, or sends requests."""

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(path.query).items()}
        if path.path == "/ask":
            body = json.dumps(
                ask(query["url"], int(query["count"]), float(query["rate"]), float(query.get("seconds", "2")))
            )
        elif path.path == "/begin":
            CONNECTIONS[query["host"]] = Connection(query["host"])
            body = ""
        elif path.path == "/end":
            body = json.dumps(CONNECTIONS.pop(query["host"]).end())
        else:
            body = f"{NAME} {self.client_address[0]}\n"
        self.reply(body.encode())

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response = {"uid": review["request"]["uid"], "allowed": True}
        self.reply(json.dumps({**review, "request": None, "response": response}).encode())

    def reply(self, body: bytes) -> None:
        """Send a complete response."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(
        self,
        format: str,  # noqa: A002 the name in the base class
        *arguments: Any,
    ) -> None:
        """Print nothing for each request."""


class Server(http.server.ThreadingHTTPServer):
    """A server for many connections at the same time."""

    request_queue_size = 512
    daemon_threads = True


def echo() -> None:
    """Answer every packet with the name of the node."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", UDP))
        while True:
            _text, client = sock.recvfrom(65536)
            sock.sendto(NAME.encode(), client)


def answer_dns(table: dict[str, str]) -> None:
    """Answer questions for the address of a name; the name does not exist if it is not in the table."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", DNS))
        while True:
            packet, client = sock.recvfrom(512)
            labels, at = [], 12
            while packet[at]:
                labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
                at += packet[at] + 1
            question = packet[12 : at + 5]
            address = table.get(".".join(labels).lower())
            flags, answers = (0x8580, 1) if address else (0x8583, 0)
            reply = packet[:2] + struct.pack("!5H", flags, 1, answers, 0, 0) + question
            if address:
                reply += b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 30, 4) + socket.inet_aton(address)
            sock.sendto(reply, client)


def main(arguments: list[str]) -> None:
    """Run the servers."""
    if arguments[:1] == ["dns"]:
        answer_dns(dict(word.split("=", 1) for word in arguments[1:]))
        return
    if arguments[:1] == ["ask"]:
        _ask, url, count, rate, seconds = arguments
        print(json.dumps(ask(url, int(count), float(rate), float(seconds))))
        return
    threading.Thread(target=echo, daemon=True).start()
    lines = socketserver.ThreadingTCPServer(("", LINES), Lines)
    lines.daemon_threads = True
    threading.Thread(target=lines.serve_forever, daemon=True).start()
    if CERTIFICATE.exists():
        secure = Server(("", HTTPS), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_name("tls.key"))
        secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=secure.serve_forever, daemon=True).start()
    print(f"agent on {NAME} answers", flush=True)
    Server(("", HTTP), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
