#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""ssh for Ansible: keeps each module and each command that it sends, and the answers, in directory RECORDINGS."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Run ssh with the same arguments, and return its exit code."""
    command = ["ssh", *sys.argv[1:]]
    if "RECORDINGS" not in os.environ:
        os.execvp("ssh", command)
    # Ansible gives commands that read nothing a terminal.
    sent = b"" if os.isatty(0) else sys.stdin.buffer.read()
    source = None if sent else sys.stdin  # the terminal stays what it is
    with subprocess.Popen(command, stdin=source or subprocess.PIPE, stdout=subprocess.PIPE) as process:
        answered, _errors = process.communicate(sent or None)
    path = Path(os.environ["RECORDINGS"], str(time.monotonic_ns()))
    path.with_suffix(".out").write_bytes(answered)
    path.with_suffix(".sent").write_bytes(sent or sys.argv[-1].encode())
    sys.stdout.buffer.write(answered)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
