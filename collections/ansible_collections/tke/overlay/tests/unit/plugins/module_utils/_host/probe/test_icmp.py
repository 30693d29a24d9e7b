# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the echo requests on a socket that fails or replies as a test wants."""

from __future__ import annotations

import errno
import socket

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.probe.icmp import EchoProber, open_echo_socket

IP_HEADER = b"\x45" + bytes(19)
PEER = "127.0.0.2"
REQUEST = (PEER, 100)


class RawSocket:
    """Stands in for a raw socket: ``send`` gets each packet and returns the packets that arrive, with their source."""

    def __init__(self, send):
        self.send = send
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)
        self.sources = []

    def fileno(self):
        return self.near.fileno()

    def sendto(self, packet, address):
        for arrived, source in self.send(packet, address[0]):
            self.far.send(arrived)
            self.sources.append(source)

    def recvfrom(self, size):
        return self.near.recv(size), (self.sources.pop(0), 0)

    def close(self):
        self.near.close()
        self.far.close()


def reply_to(packet):
    return IP_HEADER + b"\x00" + packet[1:]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOBUFS, None),
        (errno.EXFULL, "error of the kernel"),
        (errno.EPERM, "firewall rules drop the packet"),
        (errno.EINVAL, "a blackhole route"),
        (errno.EMSGSIZE, "larger than the MTU"),
    ],
)
def test_records_send_errors_except_a_full_queue(code, reason):
    codes = [code, None]

    def send(packet, address):
        number = codes.pop(0)
        if number:
            raise OSError(number, "error of the kernel")
        return []

    with EchoProber(RawSocket(send)) as prober:
        prober.probe([REQUEST], 0, attempts=1)
        assert set(prober.send_errors) == ({REQUEST} if reason else set())
        assert (reason or "") in prober.send_errors.get(REQUEST, "")
        prober.probe([REQUEST], 0, attempts=1)
        assert prober.send_errors == {}, "a later success clears the error"


ARRIVALS = {
    "too short": lambda packet: (IP_HEADER, PEER),
    "a request": lambda packet: (IP_HEADER + packet, PEER),
    "of another program": lambda packet: (IP_HEADER + b"\x00" + bytes(7) + b"\xff" * 12, PEER),
    "an unknown number": lambda packet: (reply_to(packet)[:36] + b"\x00\x00\x00\x09", PEER),
    "another source": lambda packet: (reply_to(packet), "127.0.0.1"),
}


@pytest.mark.parametrize("case", ARRIVALS)
def test_ignores_packets_that_are_no_reply(case):
    with EchoProber(RawSocket(lambda packet, address: [ARRIVALS[case](packet)])) as prober:
        prober.probe([REQUEST], 0.01, attempts=1)
        assert prober.round_trips == {}


def test_counts_a_reply_and_probes_only_the_pending_again():
    sent = []

    def send(packet, address):
        sent.append(address)
        return [(reply_to(packet), address)] if address == PEER else []

    with EchoProber(RawSocket(send)) as prober:
        prober.probe([REQUEST, ("127.0.0.3", 100)], 0.01, attempts=2)
        assert set(prober.round_trips) == {REQUEST}
        assert sent == [PEER, "127.0.0.3", "127.0.0.3"]


def test_the_kernel_replies_to_a_request():
    with EchoProber(open_echo_socket("127.0.0.1")) as prober:
        prober.probe([REQUEST], 5, attempts=1)
        assert 0 < prober.round_trips[REQUEST] < 5


def test_a_source_must_be_on_this_host():
    with pytest.raises(OSError, match="Cannot assign requested address"):
        open_echo_socket("192.0.2.1")
