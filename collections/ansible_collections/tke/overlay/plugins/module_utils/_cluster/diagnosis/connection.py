# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why Ansible does not reach a host: the cause in the message of OpenSSH, sudo or Ansible, and its remedy."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import first_line, some

MOST = 70
"""Characters of a message without a known cause."""


class ConnectionCause(t.NamedTuple):
    """What was observed, and what to do, both as parts of a sentence."""

    what: str
    remedy: str


NO_ANSWER = "no answer to SSH"
NO_ROUTE = "there is no route to it"

_PREFIX = re.compile(
    r"^(Task failed: )?(Data could not be sent to remote host .*? over ssh: |Failed to connect to the host via ssh: )?"
)
"""What Ansible writes before the message of ssh."""

_ANY = "check power, network and SSH"
_POWER = "check its power, its network and the firewalls on the way"
_ACCEPT = (
    "compare its fingerprint (on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and add it to the file "
    "known_hosts of the controller, for instance by one login with ssh"
)
_LOGIN = "check ansible_user, its SSH key (ansible_ssh_private_key_file, ssh-agent) and its password on the host"
_BECOME = "check ansible_become, ansible_become_user and the sudo rules of the user, or add --ask-become-pass"

_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"Failed to create temporary directory|No space left on device|Read-only file system",
        "no temporary directory can be made on the host",
        "free disk space, check that the file system of the home directory is writable, or set ansible_remote_tmp",
    ),
    # The warnings of ssh about keys come before its last line, which is the same for an unknown and for a changed one.
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for \S+ has changed",
        "its SSH host key has changed",
        "find out why: if the host was installed again, remove the old key (ssh-keygen -R with its address or name), "
        "then " + _ACCEPT + "; otherwise another machine answers in its place",
    ),
    (
        r"Host key verification failed|key is known for .* strict checking|authenticity of host .* established",
        "unknown SSH host key",
        _ACCEPT,
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions|Bad owner or permissions on",
        "a file of SSH on the controller may be read or written by others",
        "set the mode of the private key and of ~/.ssh/config to 600",
    ),
    (
        r"Load key .*(invalid format|error in libcrypto|incorrect passphrase)|no such identity",
        "the private key on the controller cannot be used",
        "check ansible_ssh_private_key_file and the passphrase of the key",
    ),
    (
        (
            r"unix_listener|path .* too long for Unix domain socket|ControlPath too long|[Cc]ontrol socket|"
            r"Unable to create local directories"
        ),
        "the control socket of SSH on the controller fails",
        "set control_path_dir in ansible.cfg ([ssh_connection]) to a short path that the user can write to",
    ),
    (
        r"System is booting up|pam_nologin|/nologin|The system is going down|System is going down",
        "the host is booting or shutting down and accepts no login",
        "wait until it is up",
    ),
    (
        r"[Pp]assword has expired|account has expired|[Pp]assword change required|required to change your password",
        "the password or the account of the user has expired",
        "renew it on the host",
    ),
    (
        r"Too many authentication failures",
        "the SSH server rejects the login after too many keys",
        "set ansible_ssh_private_key_file and add -o IdentitiesOnly=yes to ansible_ssh_common_args",
    ),
    (
        r"Permission denied|Authentication failed|Invalid/incorrect (username|password)|No supported auth",
        "the SSH server rejects the login",
        _LOGIN,
    ),
    (
        (
            r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution|"
            r"nodename nor servname"
        ),
        "its name cannot be resolved on the controller",
        "set ansible_host to an address or to a name that the controller can resolve",
    ),
    (
        r"Connection refused",
        "the connection to its SSH port was refused",
        "check ansible_port, and start the SSH server of the host",
    ),
    (
        r"No route to host|Network is unreachable|Host is down",
        NO_ROUTE,
        "check ansible_host, the routes of the controller, and the power of the host",
    ),
    (
        r"Unable to negotiate|no matching (host key type|key exchange method|cipher|MAC)",
        "SSH client and server have no algorithm in common",
        "update the older of both, or allow the algorithm that the message names in ansible_ssh_common_args",
    ),
    (
        (
            r"kex_exchange_identification|ssh_exchange_identification|banner exchange: .*(invalid|reset)|"
            r"Connection (closed|reset) by"
        ),
        "the SSH server closes the connection before a login",
        "check MaxStartups and the journal of the SSH server, and what limits logins there (fail2ban, a firewall)",
    ),
    (
        (
            r"Timeout \(\d+s\) waiting for privilege escalation|[Mm]issing sudo password|[Ii]ncorrect sudo password|"
            r"sudo: |is not in the sudoers|su: |[Mm]issing become password|requires a tty"
        ),
        "it does not become root",
        _BECOME,
    ),
    (
        r"timed out|Timeout, server|[Tt]imeout",
        NO_ANSWER,
        _POWER,
    ),
    (
        (
            r"python\S*: (not found|No such file)|interpreter .*(not found|No such file)|No python interpreters found|"
            r"python\S*: command not found|module interpreter"
        ),
        "Ansible finds no Python on the host",
        "install python3 there, or set ansible_python_interpreter",
    ),
    (
        r"No such file or directory: b?'ssh'|sshpass",
        "the controller lacks a program of SSH",
        "install the package openssh-client, and sshpass where passwords are used",
    ),
    (
        r"[Bb]roken pipe|Shared connection to \S+ closed|Connection to \S+ closed|Connection lost",
        "the connection broke",
        "run the playbook again; if it breaks again, " + _POWER,
    ),
)


def known_cause(message: str) -> ConnectionCause | None:
    """Return the cause that a message shows, or None."""
    for pattern, what, remedy in _CAUSES:
        if re.search(pattern, message):
            return ConnectionCause(what, remedy)
    return None


def cause_of(message: str) -> ConnectionCause:
    """Return the cause of a message; without a known one, the message itself and all that it can be."""
    return known_cause(message) or ConnectionCause(first_line(_PREFIX.sub("", message), MOST), _ANY)


def may_be_down(message: str) -> bool:
    """Return whether the message does not show that the host is up."""
    cause = known_cause(message)
    return cause is None or cause.what in (NO_ANSWER, NO_ROUTE)


def connection_steps(messages: t.Mapping[str, str]) -> list[str]:
    """Return one next step for each cause, which names its hosts.

    :param messages: host -> the message of the failed connection.
    """
    hosts: dict[ConnectionCause, list[str]] = {}
    for host, message in messages.items():
        hosts.setdefault(cause_of(message), []).append(host)
    return [_step(cause, some(names)) for cause, names in hosts.items()]


def _step(cause: ConnectionCause, hosts: str) -> str:
    if cause.remedy != _ANY:
        return f"{hosts}: {cause.what}: {cause.remedy}"
    return f"{_ANY} of {hosts} ({cause.what})" if cause.what else f"{_ANY} of {hosts}"
