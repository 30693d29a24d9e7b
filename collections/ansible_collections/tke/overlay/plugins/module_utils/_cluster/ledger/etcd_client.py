# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: one transaction on an etcd whose members come and go.

What etcd3gw leaves to its callers is here: the members are asked in turn, a
refused transaction is told apart from a failed member, and of a failure it is
said whether etcd may have carried the transaction out all the same.
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
except ImportError:  # ansible-test imports every module_utils without it; plugins refuse to run without it
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
"""Seconds for one member to accept a connection, and again to answer; an election takes one to two."""

PAUSES = (0.0, 0.3, 1.0, 2.0)
"""Seconds before each round through the members: a cluster that elects a leader is given a little time."""

PATIENCE = 24.0
"""Seconds after which no further member is asked."""

# Codes of gRPC, in the body of an error.
_UNAUTHENTICATED, _EXHAUSTED = 16, 8
_REFUSED = (3, 7, _EXHAUSTED, 9, 12, _UNAUTHENTICATED)  # argument, permission, precondition, not implemented

_CURES = {
    "request is too large": "raise --max-request-bytes of its members",
    "message larger than max": "raise --max-request-bytes of its members",
    "database space exceeded": "compact and defragment it, and disarm its alarm (and let it compact by itself)",
    "user name is empty": "it wants a login: set ETCDCTL_USER and ETCDCTL_PASSWORD",
    "permission denied": "grant this user the keys below the prefix",
    "authentication failed": "set ETCDCTL_USER and ETCDCTL_PASSWORD to what it knows",
    "authentication is not enabled": "it knows no users: unset ETCDCTL_USER",
}


class EtcdError(Exception):
    """A member did not do it. ``sent``: it, or another one behind it, may have done it all the same."""

    def __init__(self, reason: str, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class EtcdMember:
    """One end point: a connection that is kept, and a login where one is asked for."""

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
            api_path="/v3/",  # of etcd 3.4 and later; its own look-up is one more request, and stumbles over 3.6.0-rc.0
        )
        # Neither a proxy from the environment nor a login from ~/.netrc is meant for etcd.
        self._client.session.trust_env = False

    def transaction(self, payload: dict[str, t.Any]) -> dict[str, t.Any]:
        """Etcd's answer.

        :raises ValidationError: etcd understood and refused; another member would, too.
        :raises EtcdError: this member cannot do it.
        """
        try:
            return self._once(payload)
        except TokenExpiredError:
            self._logged_in = False
            del self._client.session.headers["Authorization"]  # else even the new login is refused
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
            raise self._told(error) from error
        except (OSError, ValueError) as error:  # a torn answer, or one that is no JSON: etcd3gw lets these through
            raise EtcdError(f"a torn answer ({_root(error)})", sent=True) from error
        if not isinstance(answer, dict):
            raise EtcdError("an answer that is not etcd's", sent=True)
        return answer

    def _told(self, error: Etcd3Exception) -> Exception:
        """What an error of etcd3gw comes to."""
        code, text = _message(error.detail_text)
        if code == _UNAUTHENTICATED and self._logged_in:
            return TokenExpiredError(text, sent=False)
        if code in _REFUSED and "too many requests" not in text:
            cure = next((cure for words, cure in _CURES.items() if words in text), "see etcd's documentation")
            return ValidationError(f"etcd ({self.name}) refuses: {text}; nothing was changed; {cure}")
        if code is not None:
            return EtcdError(text, sent=True)
        if error.__context__ is None:  # somebody answered, but not etcd: a proxy, or another service on that port
            return EtcdError(text or type(error).__name__, sent=True)
        late = f"no answer within {TIMEOUT:g} s" if isinstance(error, ConnectionTimeoutError) else ""
        unsent = any(isinstance(cause, (NewConnectionError, ConnectTimeoutError)) for cause in _chain(error))
        return EtcdError(late or _root(error), sent=not unsent)


class TokenExpiredError(EtcdError):
    """The login is no longer valid."""


class AllMembersFailedError(EtcdError):
    """No member did it."""


class EtcdCluster:
    """All members, asked in turn from the one that answered last."""

    def __init__(self, place: EtcdLocation) -> None:
        self.where = place.where
        self._members = [EtcdMember(endpoint, place.access) for endpoint in place.endpoints]

    def ask(self, *ranges: dict[str, t.Any]) -> dict[str, t.Any]:
        """Etcd's answer to these ranges, all at one revision.

        :raises ValidationError: nobody answers, or etcd refuses.
        """
        try:
            return self._in_turn({"success": list(ranges)})[0]
        except AllMembersFailedError as silence:
            raise self._unreachable(silence) from silence

    def change(self, transaction: dict[str, t.Any]) -> tuple[dict[str, t.Any], bool]:
        """Etcd's answer to a transaction, and whether the same one may have been carried out once before.

        So it must be of such a kind that it does nothing when it comes a second time.

        :raises IndeterminateWriteError: nobody answers, and the transaction may have been carried out.
        :raises ValidationError: nobody answers, or etcd refuses.
        """
        try:
            return self._in_turn(transaction)
        except AllMembersFailedError as silence:
            if not silence.sent:
                raise self._unreachable(silence) from silence
            raise IndeterminateWriteError(
                f"the ledger {self.where} cannot be reached ({silence}), and an answer was lost on the way, so a "
                f"change may have been written; run again when etcd is back: what was written is found then, and "
                f"nothing is done twice"
            ) from silence

    def _in_turn(self, transaction: dict[str, t.Any]) -> tuple[dict[str, t.Any], bool]:
        reasons: dict[str, str] = {}
        sent = False
        for member in self._turns():
            try:
                return member.transaction(transaction), sent
            except EtcdError as failure:
                reasons[member.name] = str(failure)
                sent = sent or failure.sent
            except ValidationError as refusal:
                if not sent:
                    raise
                reasons[member.name] = str(refusal)  # but an attempt before it may have been carried out
        raise AllMembersFailedError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()), sent)

    def _turns(self) -> t.Iterator[EtcdMember]:
        """The members again and again, each put last when the next one is asked for."""
        end = time.monotonic() + PATIENCE
        for pause in PAUSES:
            time.sleep(pause * random.uniform(0.5, 1.0))
            for member in list(self._members):
                yield member
                self._members.append(self._members.pop(0))
                if time.monotonic() > end:
                    return

    def _unreachable(self, silence: EtcdError) -> ValidationError:
        return ValidationError(
            f"the ledger {self.where} cannot be reached ({silence}); nothing was changed; see that etcd runs there, "
            f"has a leader, and can be reached from here"
        )


def _message(detail: str | None) -> tuple[int | None, str]:
    """Code and text of an error that etcd's gateway sent; no code where it comes from somebody else."""
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
    """The reason at the bottom: requests wraps it three times over."""
    root = list(_chain(error))[-1]
    return (isinstance(root, OSError) and root.strerror) or str(root) or type(root).__name__
