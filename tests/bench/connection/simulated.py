# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A connection to a simulated host: what SSH would carry goes to the process of tests/bench/simulated_hosts.py."""

from __future__ import annotations

import json
import os
import socket

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: simulated
short_description: A simulated host
description:
  - Sends commands and modules to the socket of simulated hosts, and returns their answers.
version_added: 1.0.0
author: tke.overlay contributors
options:
  host:
    description: The name of the host in the inventory.
    type: str
    vars:
      - name: inventory_hostname
  pipelining:
    description: Modules are sent through a pipe, as over SSH.
    type: bool
    default: true
"""

SOCKET = "SIMULATED_HOSTS"
"""The variable of the environment that has the path of the socket."""


class Connection(ConnectionBase):  # type: ignore[misc]  # ansible-core is not typed
    """One connection for each command, as SSH with a kept connection has one session."""

    transport = "simulated"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command on the host, with this standard input."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        data = in_data or b""
        head = json.dumps({"host": self.get_option("host"), "command": cmd, "length": len(data)})
        try:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(os.environ[SOCKET])
                stream.sendall(head.encode() + b"\n" + data)
                answer = b"".join(iter(lambda: stream.recv(1 << 16), b""))
        except OSError as error:
            raise AnsibleConnectionFailure(f"the simulated hosts do not answer: {error}") from error
        code, _line, output = answer.partition(b"\n")
        return int(code), output, b""

    def put_file(self, in_path: str, out_path: str) -> None:
        """Modules and commands of this collection need no file."""
        raise AnsibleConnectionFailure(f"a simulated host takes no file: {out_path}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Modules and commands of this collection need no file."""
        raise AnsibleConnectionFailure(f"a simulated host gives no file: {in_path}")

    def close(self) -> None:
        """Close the connection."""
        self._connected = False
