#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Set up files, a service and a command on a host of the lab, in one task.

With one task for each, setting up the substitutes for a cluster took longer than the overlay under test.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: lab_host
short_description: Set up files, a service and a command on a host of the lab
author: tke.overlay contributors
description:
  - Writes files, owned by root, where they differ, and creates missing directories.
  - If a file was written, runs a check, which must succeed. Enables and starts a service, or reloads it if a file was
    written. Waits until a URL returns C(ok). Runs a command, which must print JSON with C(changed).
options:
  files:
    description: >-
      Each with C(path) and C(content). The default of C(mode) is 0600. With C(keep), an existing file is not changed.
    type: list
    elements: dict
    default: []
  check:
    description: A command that checks the files.
    type: list
    elements: str
    default: []
  service:
    description: The systemd unit of the service.
    type: str
  ready:
    description: The URL that must return C(ok), and the file with the CA of its certificate.
    type: dict
  command:
    description: A command.
    type: list
    elements: str
    default: []
  environment_of_command:
    description: The environment variables of the command.
    type: dict
    default: {}
"""
READY_SECONDS = 10.0


def main() -> None:
    """Run the module."""
    spec = {
        "files": {"type": "list", "elements": "dict", "default": [], "no_log": True},
        "check": {"type": "list", "elements": "str", "default": []},
        "service": {"type": "str"},
        "ready": {"type": "dict"},
        "command": {"type": "list", "elements": "str", "default": []},
        "environment_of_command": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(spec, supports_check_mode=True)
    given = module.params
    written = [file["path"] for file in given["files"] if write(module, **file)]
    changed = bool(written)
    if not module.check_mode:
        if written and given["check"]:
            module.run_command(given["check"], check_rc=True)
        if given["service"]:
            changed |= serve(module, given["service"], bool(written))
        if given["ready"]:
            await_ready(module, **given["ready"])
    if given["command"] and not module.check_mode:
        text = module.run_command(given["command"], check_rc=True, environ_update=given["environment_of_command"])[1]
        changed |= json.loads(text)["changed"]
    module.exit_json(changed=changed, written=written)


def write(module: AnsibleModule, path: str, content: str, mode: str = "0600", keep: bool = False) -> bool:
    """Write a file if it differs, and return whether it did. Its content is at no time readable for other users."""
    wanted = (content.encode(), int(mode, 8))
    try:
        with open(path, "rb") as file:
            found = (file.read(), os.fstat(file.fileno()).st_mode & 0o7777)
    except FileNotFoundError:
        found = None
    if found == wanted or (found and keep):
        return False
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        beside = f"{path}.new"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(wanted[0])
        os.chmod(beside, wanted[1])
        os.rename(beside, path)
    return True


def serve(module: AnsibleModule, unit: str, reload: bool) -> bool:
    """Enable and start a unit, or reload it, and return whether it had to be enabled or started."""
    enabled = module.run_command(["systemctl", "is-enabled", "--quiet", unit])[0] == 0
    active = module.run_command(["systemctl", "is-active", "--quiet", unit])[0] == 0
    if not enabled:
        module.run_command(["systemctl", "enable", "--quiet", unit], check_rc=True)
    if not active or reload:
        module.run_command(["systemctl", "reload" if active else "start", unit], check_rc=True)
    return not (enabled and active)


def await_ready(module: AnsibleModule, url: str, ca: str) -> None:
    """Wait until the URL returns ok: a reload returns before the new configuration is in use."""
    deadline = time.monotonic() + READY_SECONDS
    context = ssl.create_default_context(cafile=ca)
    while True:
        try:
            with urllib.request.urlopen(url, timeout=READY_SECONDS, context=context) as answer:
                response = answer.read().decode()
        except OSError as error:
            response = str(error)
        if response == "ok":
            return
        if time.monotonic() > deadline:
            module.fail_json(msg=f"{url} does not return ok within {READY_SECONDS:.0f} s: {response}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
