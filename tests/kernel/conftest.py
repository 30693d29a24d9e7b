# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests against the real kernel: every test runs in its own network namespace."""

from __future__ import annotations

import ctypes
import os
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from breakages import document
from world import World

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    if getattr(LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def run():
    """Run programs in a new namespace with an underlay link ``eth0`` (10.0.1.11/24), removed after the test."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    _call("unshare", CLONE_NEWNET)

    def run_here(command, text=None):
        try:
            done = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False)
        except FileNotFoundError as error:  # as Runner does
            return 127, "", str(error)
        return done.returncode, done.stdout, done.stderr

    try:
        # No link-local addresses: duplicate address detection would change the listings while a test compares them.
        with open("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "w", encoding="ascii") as stream:
            stream.write("1")
        for line in (
            "link set lo up",
            "link add eth0 mtu 1500 type veth peer name far",
            "address add 10.0.1.11/24 dev eth0",
            "link set eth0 up",
            "link set far up",
        ):
            code, _out, errors = run_here(["ip", *line.split()])
            assert code == 0, errors
        # The kernel sets the carrier state later, and with it the flags of addresses and routes.
        while '"operstate":"UP"' not in run_here(["ip", "-json", "link", "show", "eth0"])[1]:
            pass
        yield run_here
    finally:
        _call("setns", home, CLONE_NEWNET)
        os.close(home)


@pytest.fixture
def world(run, tmp_path, monkeypatch):
    """A configured host with its Pod and a neighbour."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    created = World(run)
    try:
        node.converge(document(), run, check=False)
        yield created
    finally:
        created.close()
