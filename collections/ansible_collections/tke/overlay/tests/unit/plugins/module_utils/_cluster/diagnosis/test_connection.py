# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the causes for which Ansible does not reach a host. The messages are those of OpenSSH, sudo and Ansible."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import (
    cause_of,
    connection_steps,
    known_cause,
    may_be_down,
)

SENT = 'Task failed: Data could not be sent to remote host "10.0.1.11". Make sure this host can be reached over ssh: '
VIA = "Failed to connect to the host via ssh: "
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Offending ED25519 key in /root/.ssh/known_hosts:1
Host key for 10.0.1.11 has changed and you have requested strict checking.
Host key verification failed."""
UNKNOWN = """No ED25519 host key is known for 10.0.1.11 and you have requested strict checking.
Host key verification failed."""
OPEN_KEY = """@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
Permissions 0755 for '/etc/hostname' are too open.
Load key "/etc/hostname": bad permissions
root@10.0.1.11: Permission denied (publickey)."""
BAD_KEY = """Load key "/root/.ssh/id": error in libcrypto
root@10.0.1.11: Permission denied (publickey)."""
TEMPORARY = (
    "Task failed: Failed to create temporary directory. In some cases, you may have been able to authenticate and did "
    'not have permissions on the target directory. Failed command was: ( umask 77 && mkdir -p "` echo /x `"), exited '
    "with result 1, stderr output: mkdir: cannot create directory '/x': Permission denied"
)

MESSAGES = [
    (SENT + CHANGED, "its SSH host key has changed", "ssh-keygen -R"),
    (SENT + UNKNOWN, "unknown SSH host key", "known_hosts"),
    (VIA + "Host key verification failed.", "unknown SSH host key", "fingerprint"),
    (SENT + OPEN_KEY, "may be read or written by others", "600"),
    (VIA + "Bad owner or permissions on /root/.ssh/config", "may be read or written by others", "600"),
    (SENT + BAD_KEY, "private key on the controller cannot be used", "ansible_ssh_private_key_file"),
    (SENT + "ControlPath too long ('/tmp/xxx' >= 108 bytes)", "control socket", "control_path_dir"),
    (VIA + 'unix_listener: path "/x" too long for Unix domain socket', "control socket", "control_path_dir"),
    ("Unable to create local directories '/proc/nope': [Errno 2] No such file", "control socket", "control_path_dir"),
    (VIA + '"System is booting up. Unprivileged users are not permitted to log in yet."', "booting", "wait"),
    (VIA + "WARNING: Your password has expired.\nPassword change required", "expired", "renew"),
    (
        VIA + "Received disconnect from 10.0.1.11 port 22:2: Too many authentication failures",
        "too many keys",
        "IdentitiesOnly",
    ),
    (SENT + "nobody@10.0.1.11: Permission denied (publickey).", "rejects the login", "ansible_user"),
    (VIA + "a@b: Permission denied (publickey,password).", "rejects the login", "ansible_user"),
    ("Invalid/incorrect password: Permission denied, please try again.", "rejects the login", "ansible_user"),
    (
        SENT + "ssh: Could not resolve hostname nohost.invalid: Temporary failure in name resolution",
        "cannot be resolved",
        "ansible_host",
    ),
    (VIA + "ssh: Could not resolve hostname n: Name or service not known", "cannot be resolved", "ansible_host"),
    (VIA + "ssh: connect to host 10.0.1.11 port 22: Connection refused", "refused", "ansible_port"),
    (VIA + "ssh: connect to host 10.0.1.11 port 22: No route to host", "no route", "ansible_host"),
    (SENT + "ssh: connect to host 203.0.113.9 port 22: Network is unreachable", "no route", "ansible_host"),
    (
        VIA + "Unable to negotiate with 10.0.1.11 port 22: no matching host key type found. Their offer: ssh-rsa",
        "no algorithm in common",
        "ansible_ssh_common_args",
    ),
    (VIA + "kex_exchange_identification: Connection closed by remote host", "before a login", "MaxStartups"),
    (VIA + "Connection reset by 10.0.1.11 port 22", "before a login", "MaxStartups"),
    ("Timeout (12s) waiting for privilege escalation prompt: ", "become root", "ansible_become"),
    ("Missing sudo password", "become root", "--ask-become-pass"),
    ("sudo: a password is required", "become root", "--ask-become-pass"),
    ("deploy is not in the sudoers file.", "become root", "sudo rules"),
    (SENT + "ssh: connect to host 10.0.1.11 port 2222: Connection timed out", "no answer to SSH", "power"),
    (VIA + "Connection timed out during banner exchange", "no answer to SSH", "firewalls"),
    (VIA + "Timeout, server 10.0.1.11 not responding.", "no answer to SSH", "power"),
    (TEMPORARY, "temporary directory", "ansible_remote_tmp"),
    ("The module interpreter '/nope/python3' was not found.", "no Python", "ansible_python_interpreter"),
    ("/bin/sh: 1: /usr/bin/python3: not found", "no Python", "install python3"),
    ("[Errno 2] No such file or directory: b'ssh'", "lacks a program of SSH", "openssh-client"),
    (
        "to use the 'ssh' connection type with passwords or pkcs11_provider, you must install the sshpass program",
        "lacks a program of SSH",
        "sshpass",
    ),
    (VIA + "Shared connection to 10.0.1.11 closed.", "connection broke", "again"),
]


@pytest.mark.parametrize(("message", "what", "remedy"), MESSAGES)
def test_each_message_has_its_cause_and_its_remedy(message, what, remedy):
    cause = cause_of(message)
    assert what in cause.what
    assert remedy in cause.remedy
    assert known_cause(message) == cause


@pytest.mark.parametrize("prefix", [SENT, VIA, ""])
def test_an_unknown_message_is_printed_without_the_words_of_ansible(prefix):
    assert cause_of(prefix + "some new\nmessage").what == "some new message"
    assert connection_steps({"a": prefix + "some new message"}) == [
        "check power, network and SSH of a (some new message)"
    ]
    assert known_cause(prefix + "some new message") is None


def test_only_silence_can_mean_that_a_host_is_down():
    down = {message for message, _what, _remedy in MESSAGES if may_be_down(message)}
    assert {cause_of(message).what for message in down} == {"no answer to SSH", "there is no route to it"}
    assert may_be_down("some new message")


def test_hosts_with_one_cause_share_a_step():
    refused = "ssh: connect to host {} port 22: Connection refused"
    steps = connection_steps({"idc10": refused.format("a"), "idc2": refused.format("b"), "idc1": UNKNOWN})
    assert len(steps) == 2
    assert steps[0].startswith("idc2, idc10: the connection to its SSH port was refused: ")
