#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Open new TLS connections at a steady rate, and keep some open; record which of them fail, and when.

Runs on a host of the lab. A connection counts as good if the server behind the proxy answers the start of a TLS
handshake (with its ServerHello) within LIMIT seconds. Each connection therefore reaches the server, at little cost for
this program. The connections that stay open complete the handshake and request a page every PAGE_SECONDS.

Prints one JSON document per line: `{"ready": time}`, and at the end `{"failures": [[start, seconds, reason], ...],
"broken": [[time, reason], ...], "good": [start, ...], "late": [[time, seconds], ...]}`. Times are those of
CLOCK_REALTIME. `late` lists the times at which this program itself was late by more than LATE seconds: it may be the
cause of failures at these times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from typing import Any

LIMIT = 0.9  # less than the second after which TCP repeats a lost SYN, so a lost SYN counts as a failure
LATE = 0.1
PAGE_SECONDS = 1.0


def client_hello(name: str) -> bytes:
    """Return the first bytes of a TLS client that connects to a name."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("the handshake ended without a server")


# Runs on hosts with Python 3.9, whose asyncio has an error of its own and no asyncio.timeout.
TIMEOUTS = (TimeoutError, asyncio.TimeoutError)


class Load:
    """All connections to one address, and their results."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self.host, self.port, self.name = host, port, name
        self.hello = client_hello(name)
        self.failures: list[tuple[float, float, str]] = []
        self.broken: list[tuple[float, str]] = []
        self.late: list[tuple[float, float]] = []
        self.good: list[float] = []
        self.lasting = 0

    async def one(self) -> None:
        """Open a new connection, and wait for the first bytes of the server."""
        start = time.time()
        try:
            await asyncio.wait_for(self._greet(), LIMIT)
            if time.time() - start > LIMIT:  # the data arrived before the timeout was processed
                raise TimeoutError
            self.good.append(round(start, 4))
        except (OSError, *TIMEOUTS) as error:
            self.failures.append((start, time.time() - start, reason(error)))

    async def _greet(self) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(self.hello)
            if not await reader.read(1):
                raise ConnectionError("closed without an answer")
        finally:
            writer.transport.abort()

    async def many(self, rate: float, until: float) -> None:
        """Open connections at a steady rate, and do not wait for their results."""
        tasks: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            behind = time.monotonic() - due
            if behind > LATE:  # missed connections are skipped, because a burst would change the load
                self.late.append((time.time(), round(behind, 3)))
                due = time.monotonic()
            task = asyncio.create_task(self.one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += 1 / rate
        await asyncio.gather(*tasks)

    async def stay(self, until: float) -> None:
        """Keep a connection open, and open another one when it breaks."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while time.monotonic() < until:
            writer = None
            try:
                opening = asyncio.open_connection(self.host, self.port, ssl=context, server_hostname=self.name)
                reader, writer = await asyncio.wait_for(opening, 5)
                self.lasting += 1
                try:
                    await self._pages(reader, writer, until)
                finally:
                    self.lasting -= 1
            except (OSError, EOFError, *TIMEOUTS) as error:
                self.broken.append((time.time(), reason(error)))
                await asyncio.sleep(0.2)
            finally:
                if writer is not None:
                    writer.transport.abort()

    async def _pages(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.wait_for(self._page(reader, writer), 5)
            await asyncio.sleep(PAGE_SECONDS)

    async def _page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"GET /readyz HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))


def reason(error: BaseException) -> str:
    """Return a short reason for the failure."""
    return "no answer" if isinstance(error, TIMEOUTS) else type(error).__name__


async def work(options: argparse.Namespace) -> dict[str, Any]:
    """Run the load for the given time or until standard input ends, and return the results."""
    load = Load(options.host, options.port, options.name)
    until = time.monotonic() + options.seconds
    lasting = [asyncio.create_task(load.stay(until)) for _number in range(options.lasting)]
    while load.lasting < options.lasting and time.monotonic() < until:
        await asyncio.sleep(0.05)
    print(json.dumps({"ready": time.time()}), flush=True)
    load.broken.clear()
    pushing = asyncio.create_task(load.many(options.rate, until))
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait({pushing, stop}, return_when=asyncio.FIRST_COMPLETED)
    for task in (pushing, *lasting):
        task.cancel()
    await asyncio.gather(pushing, *lasting, return_exceptions=True)
    return {"failures": load.failures, "broken": load.broken, "good": load.good, "late": load.late}


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("name")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--lasting", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=3600)
    print(json.dumps(asyncio.run(work(parser.parse_args()))), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
