#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Webhooks in small: a server with TLS that answers with what it received, and a client that verifies it.

https.py serve ADDRESS CERTIFICATE    answer a POST with the client's address and the body
https.py ask ADDRESS CERTIFICATE      send 256 KiB, verify certificate and answer, print the address that was seen
"""

from __future__ import annotations

import http.server
import ssl
import sys
import urllib.request

BODY = bytes(range(256)) * 1024
PORT = 8443


class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("X-Client", self.client_address[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(address: str, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = http.server.ThreadingHTTPServer((address, PORT), Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def ask(address: str, certificate: str) -> str:
    context = ssl.create_default_context(cafile=certificate)
    request = urllib.request.Request(f"https://{address}:{PORT}/", data=BODY)
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        if answer.read() != BODY:
            sys.exit("the answer differs from the request")
        return str(answer.headers["X-Client"])


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve(*words)
    print(ask(*words))
