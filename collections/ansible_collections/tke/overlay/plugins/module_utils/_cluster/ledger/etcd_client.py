# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run transactions on an etcd cluster whose members may fail.

This module adds to etcd3gw: it tries the members in turn, distinguishes a
rejected transaction from a failed member, and reports for a failure whether etcd
may have carried out the transaction.
"""

from __future__ import annotations

import json
import random
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

try:
    from etcd3gw.client import Etcd3Client
    from etcd3gw.exceptions import ConnectionTimeoutError, Etcd3Exception
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
except ImportError:  # ansible-test imports every module_utils without it; plugins check HAS_ETCD3GW
    HAS_ETCD3GW = False
else:
    HAS_ETCD3GW = True


from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import IndeterminateWriteError
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_url import (
    EtcdAccess,
    EtcdEndpoint,
    EtcdLocation,
)

TIMEOUT = 4.0
"""Seconds for a member to accept a connection, and again to answer; an election takes one to two."""

PAUSES = (0.0, 0.3, 1.0, 2.0)
"""Seconds before each round through the members: an election needs time."""

PATIENCE = 24.0
"""Seconds after which no further member is tried."""

# gRPC codes in the body of an error.
_UNAUTHENTICATED, _EXHAUSTED = 16, 8
_REJECTED = (3, 7, _EXHAUSTED, 9, 12, _UNAUTHENTICATED)  # argument, permission, precondition, not implemented

_REMEDIES = {
    "request is too large": "raise --max-request-bytes of its members",
    "message larger than max": "raise --max-request-bytes of its members",
    "database space exceeded": "compact and defragment it, and disarm its alarm (and let it compact by itself)",
    "user name is empty": "it requires a login: set ETCDCTL_USER and ETCDCTL_PASSWORD",
    "permission denied": "grant this user the keys below the prefix",
    "authentication failed": "set ETCDCTL_USER and ETCDCTL_PASSWORD to a user of etcd",
    "authentication is not enabled": "it has no users: unset ETCDCTL_USER",
}


class EtcdError(Exception):
    """A request to a member failed. ``sent``: etcd may have carried out the request anyway."""

    def __init__(self, reason: str, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class EtcdMember:
    """One endpoint: a persistent connection, and a login when a user is set."""

    def __init__(self, endpoint: EtcdEndpoint, access: EtcdAccess) -> None:
        self.name = str(endpoint)
        self._access = access
        self._logged_in = False
        self._client = Etcd3Client(
            host=endpoint.host,
            port=endpoint.port,
            protocol="https" if access.tls else "http",
            ca_cert=access.cacert,
            cert_cert=access.cert,
            cert_key=access.key,
            timeout=TIMEOUT,
            api_path="/v3/",  # of etcd 3.4 and later; its own look-up costs a request, and fails with 3.6.0-rc.0
        )
        # Do not use a proxy from the environment or a login from ~/.netrc.
        self._client.session.trust_env = False

    def transaction(self, payload: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the answer of etcd to a transaction.

        :raises ValidationError: etcd rejected the transaction, as every member would.
        :raises EtcdError: the request to this member failed.
        """
        try:
            return self._once(payload)
        except TokenExpiredError:
            self._logged_in = False
            del self._client.session.headers["Authorization"]  # otherwise etcd rejects even the new login
            return self._once(payload)

    def _once(self, payload: dict[str, t.Any]) -> dict[str, t.Any]:
        if self._access.user and not self._logged_in:
            login = {"name": self._access.user, "password": self._access.password}
            token = self._post("/auth/authenticate", login)["token"]
            self._client.session.headers["Authorization"] = token
            self._logged_in = True
        return self._post("/kv/txn", payload)

    def _post(self, path: str, payload: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            answer = self._client.post(self._client.get_url(path), json=payload)
        except Etcd3Exception as error:
            raise self._converted(error) from error
        except (
            OSError,
            ValueError,
        ) as error:  # a truncated answer, or one that is not JSON: etcd3gw passes these errors on
            raise EtcdError(f"a truncated answer ({_root(error)})", sent=True) from error
        if not isinstance(answer, dict):
            raise EtcdError("an answer that is not from etcd", sent=True)
        return answer

    def _converted(self, error: Etcd3Exception) -> Exception:
        """Return the error to raise for an error of etcd3gw."""
        code, text = _message(error.detail_text)
        if code == _UNAUTHENTICATED and self._logged_in:
            return TokenExpiredError(text, sent=False)
        if code in _REJECTED and "too many requests" not in text:
            remedy = next(
                (remedy for words, remedy in _REMEDIES.items() if words in text), "see the documentation of etcd"
            )
            return ValidationError(f"etcd ({self.name}) rejects the request: {text}; nothing was changed; {remedy}")
        if code is not None:
            return EtcdError(text, sent=True)
        if error.__context__ is None:  # the answer is not from etcd, but from a proxy or another service on that port
            return EtcdError(text or type(error).__name__, sent=True)
        late = f"no answer within {TIMEOUT:g} s" if isinstance(error, ConnectionTimeoutError) else ""
        unsent = any(isinstance(cause, (NewConnectionError, ConnectTimeoutError)) for cause in _chain(error))
        return EtcdError(late or _root(error), sent=not unsent)


class TokenExpiredError(EtcdError):
    """The token of the login is no longer valid."""


class AllMembersFailedError(EtcdError):
    """The request failed on every member."""


class EtcdCluster:
    """All members of a cluster; requests start with the member that answered last."""

    def __init__(self, place: EtcdLocation) -> None:
        self.where = place.where
        self._members = [EtcdMember(endpoint, place.access) for endpoint in place.endpoints]

    def ask(self, *ranges: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the answer of etcd to these ranges, all at one revision.

        :raises ValidationError: no member answers, or etcd rejects the request.
        """
        try:
            return self._in_turn({"success": list(ranges)})[0]
        except AllMembersFailedError as failure:
            raise self._unreachable(failure) from failure

    def change(self, transaction: dict[str, t.Any]) -> tuple[dict[str, t.Any], bool]:
        """Return the answer to a transaction, and whether an earlier attempt may have been carried out.

        The transaction must do nothing when it is carried out a second time.

        :raises IndeterminateWriteError: no member answers, and the transaction may have been carried out.
        :raises ValidationError: no member answers, or etcd rejects the request.
        """
        try:
            return self._in_turn(transaction)
        except AllMembersFailedError as failure:
            if not failure.sent:
                raise self._unreachable(failure) from failure
            raise IndeterminateWriteError(
                f"the ledger {self.where} is unreachable ({failure}), and the answer to a write was lost, so the "
                f"change may have been written; run the playbook again when etcd is reachable: it reads what was "
                f"written, and repeats nothing"
            ) from failure

    def attempt(self, transaction: dict[str, t.Any]) -> None:
        """Let etcd check a transaction whose condition cannot hold, so that it changes nothing.

        :raises ValidationError: no member answers, or etcd rejects the transaction, for instance without permission.
        """
        try:
            self._in_turn(transaction)
        except AllMembersFailedError as failure:
            raise self._unreachable(failure) from failure

    def _in_turn(self, transaction: dict[str, t.Any]) -> tuple[dict[str, t.Any], bool]:
        reasons: dict[str, str] = {}
        sent = False
        for member in self._turns():
            try:
                return member.transaction(transaction), sent
            except EtcdError as failure:
                reasons[member.name] = str(failure)
                sent = sent or failure.sent
            except ValidationError as error:
                if not sent:
                    raise
                reasons[member.name] = str(error)  # but an earlier attempt may have been carried out
        raise AllMembersFailedError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()), sent)

    def _turns(self) -> t.Iterator[EtcdMember]:
        """Yield the members, several rounds of them; a member that failed moves to the end."""
        end = time.monotonic() + PATIENCE
        for pause in PAUSES:
            time.sleep(pause * random.uniform(0.5, 1.0))
            for member in list(self._members):
                yield member
                self._members.append(self._members.pop(0))
                if time.monotonic() > end:
                    return

    def _unreachable(self, failure: EtcdError) -> ValidationError:
        return ValidationError(
            f"the ledger {self.where} is unreachable ({failure}); nothing was changed; check that etcd runs there, "
            f"has a leader and is reachable from the controller"
        )


def _message(detail: str | None) -> tuple[int | None, str]:
    """Return code and text of an error of etcd's gateway; the code is ``None`` for other senders."""
    try:
        document = json.loads(detail or "")
        return int(document["code"]), str(document.get("message") or document["error"])
    except (ValueError, KeyError, TypeError):
        return None, (detail or "").strip()[:100]


def _chain(error: BaseException | None) -> t.Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _root(error: BaseException) -> str:
    """Return the innermost reason: requests wraps it three times."""
    root = list(_chain(error))[-1]
    return (isinstance(root, OSError) and root.strerror) or str(root) or type(root).__name__
