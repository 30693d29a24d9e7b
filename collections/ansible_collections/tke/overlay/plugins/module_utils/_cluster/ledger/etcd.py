# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store that keeps a ledger in etcd, for controllers that share no disk.

=====================================  ==========================================================
``<prefix>/ledger``                    the ledger
``<prefix>/ledger.<revision>``         previous versions, by their revision; the one written last is the newest
``<prefix>/writes``                    the identifiers of the last writes
=====================================  ==========================================================

A write is one transaction. If the ledger still has the revision that was read, and
the last writes are still the same, the transaction writes the new text, keeps the old
text as a previous version, deletes the oldest version and records the identifier of
this write. Otherwise another writer was first, and the write starts again with the
present ledger. The revision alone is not sufficient: an etcd that is restored from a
snapshot counts its revisions again from there, so another text can have this revision.

When the answer to a write is lost, the same transaction is sent again. Its
condition prevents that it is carried out twice; when it does nothing, the
identifiers show whether the first attempt was carried out. So no write is lost or
repeated.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import os
import random
import re
import secrets
import shlex
import sys
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import (
    KEPT,
    Change,
    IndeterminateWriteError,
    NotTextError,
    Store,
    Version,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_client import HAS_ETCD3GW, EtcdCluster
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_url import parse_url
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

PATIENCE = 60.0
"""Seconds for which a write is retried when other writers are faster."""

PLAIN = 100_000
"""A text of up to so many bytes is stored as it is, a larger one compressed: etcd accepts 1.5 MiB in a request."""

MARKS = 64
"""How many of the last writes are recorded by their identifiers."""

_PACKED = b"H4sI"  # the start of gzip data in base64; a ledger starts with a brace


class EtcdState(t.NamedTuple):
    """The stored value, its revision and number of writes (0: no ledger), the write identifiers and version keys.

    ``versions`` are in the order in which they were written. The revisions in their names are not: an etcd to which
    all keys were copied from another one counts its revisions from 1.
    """

    value: bytes | None
    revision: int
    writes: int
    marks: bytes | None
    versions: list[str]


class EtcdStore:
    """A store in etcd. ``patience`` is in seconds."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        place = parse_url(url, os.environ)
        self.where = place.where
        if not HAS_ETCD3GW:
            raise ValidationError(
                f"the ledger {self.where} is in etcd, and the Python of this controller has no etcd3gw: "
                f"run '{sys.executable} -m pip install etcd3gw'"
            )
        self._key = f"{place.prefix}/ledger"
        self._marks_key = f"{place.prefix}/writes"
        self._endpoints = set(place.endpoints)
        self._cluster = EtcdCluster(place)
        self._patience = patience

    def read(self) -> str | None:
        """See :meth:`Store.read`.

        :raises ValidationError: no member answers, or the value is not a text.
        """
        return self._text(self._state().value)

    def transact(self, change: Change) -> None:
        """See :meth:`Store.transact`.

        :raises ValidationError: no member answers, etcd rejects the write, or other writers are always faster.
        :raises IndeterminateWriteError: the write may have been carried out.
        """
        end = time.monotonic() + self._patience
        longest = 0.01
        while True:
            state = self._state()
            before = self._text(state.value)
            after = change(before)
            if after == before or self._commit(state, after):
                return
            if time.monotonic() > end:
                raise ValidationError(
                    f"the ledger {self.where} was changed by other writers for {self._patience:g} s; "
                    f"this run changed nothing; run the playbook again when they are done"
                )
            time.sleep(random.uniform(0, longest))
            longest = min(2 * longest, 0.5)

    def check_writable(self) -> None:
        """See :meth:`Store.check_writable`. etcd checks permissions and space of both branches of a transaction."""
        state = self._state()
        write = self._write(state, state.value or b"", secrets.token_hex(8))
        never = _equal(self._key, "MOD", "mod_revision", "-1")
        self._cluster.attempt({**write, "compare": [never]})

    def is_same(self, other: Store) -> bool:
        """See :meth:`Store.is_same`. An endpoint is a member of one etcd."""
        return isinstance(other, EtcdStore) and self._key == other._key and bool(self._endpoints & other._endpoints)

    def previous(self) -> list[Version]:
        """See :meth:`Store.previous`."""
        answer = self._cluster.ask(self._versions_range(keys_only=False))
        versions = []
        for name, row in self._versions(answer, 0).items():
            restore = f"etcdctl get --print-value-only {shlex.quote(name)} | etcdctl put {shlex.quote(self._key)}"
            with contextlib.suppress(ValueError):
                versions.append(Version(name, _unpack(_decode(row.get("value", ""))), restore))
        return versions[::-1]

    # --- one read and one write ---

    def _state(self) -> EtcdState:
        answer = self._cluster.ask(
            {"request_range": {"key": _encode(self._key)}}, self._versions_range(keys_only=True), self._marks_range()
        )
        ledger = _rows(answer, 0)
        return EtcdState(
            value=_decode(ledger[0].get("value", "")) if ledger else None,
            revision=int(ledger[0]["mod_revision"]) if ledger else 0,
            writes=int(ledger[0]["version"]) if ledger else 0,
            marks=_value(answer, 2),
            versions=list(self._versions(answer, 1)),
        )

    def _commit(self, state: EtcdState, text: str) -> bool:
        """Return whether the text replaced that state; ``False`` when another writer was faster.

        :raises IndeterminateWriteError: the answer was lost, and there were too many other writes to find this one.
        """
        mark = secrets.token_hex(8)
        answer, repeated = self._cluster.change(self._write(state, _pack(text), mark))
        if answer.get("succeeded") or mark in _words(_value(answer, 0)):
            return True
        if not repeated:
            return False
        ledger = _rows(answer, 1)
        if not ledger or not 0 <= int(ledger[0]["version"]) - state.writes < MARKS:
            raise IndeterminateWriteError(
                f"the ledger {self.where} had many other writes while the answer to a write was lost, so that write "
                f"may or may not have been carried out; run the playbook again: it reads what was written"
            )
        return False

    def _write(self, state: EtcdState, value: bytes, mark: str) -> dict[str, t.Any]:
        puts = {self._key: value, self._marks_key: " ".join([*_words(state.marks), mark][-MARKS:]).encode()}
        old: list[str] = []
        if state.value is not None:
            puts[f"{self._key}.{state.revision:012}"] = state.value
            old = state.versions[: -(KEPT - 1)]
        return {
            "compare": [
                _equal(self._key, "MOD", "mod_revision", str(state.revision)),
                _equal(self._marks_key, "CREATE", "create_revision", "0")
                if state.marks is None
                else _equal(self._marks_key, "VALUE", "value", _encode(state.marks)),
            ],
            "success": [
                *({"request_put": {"key": _encode(key), "value": _encode(kept)}} for key, kept in puts.items()),
                *({"request_delete_range": {"key": _encode(key)}} for key in old),
            ],
            "failure": [self._marks_range(), {"request_range": {"key": _encode(self._key), "keys_only": True}}],
        }

    def _versions_range(self, keys_only: bool) -> dict[str, t.Any]:
        # All keys that begin with "ledger." ("/" comes right after ".").
        return {
            "request_range": {
                "key": _encode(f"{self._key}."),
                "range_end": _encode(f"{self._key}/"),
                "keys_only": keys_only,
            }
        }

    def _versions(self, answer: dict[str, t.Any], number: int) -> dict[str, dict[str, t.Any]]:
        """Return the rows of that range that are previous versions, oldest first; others may be copies made by hand."""
        ordered = sorted(_rows(answer, number), key=lambda row: (int(row["mod_revision"]), row["key"]))
        rows = {_decode(row["key"]).decode(): row for row in ordered}
        pattern = re.compile(re.escape(self._key) + r"\.[0-9]{12}")
        return {name: row for name, row in rows.items() if pattern.fullmatch(name)}

    def _marks_range(self) -> dict[str, t.Any]:
        return {"request_range": {"key": _encode(self._marks_key)}}

    def _text(self, value: bytes | None) -> str | None:
        try:
            return None if value is None else _unpack(value)
        except ValueError as error:
            raise NotTextError(f"the ledger {self.where} cannot be read: {error}") from error


def _pack(text: str) -> bytes:
    raw = text.encode()
    if len(raw) <= PLAIN and not raw.startswith(_PACKED):
        return raw
    return base64.b64encode(gzip.compress(raw, mtime=0))


def _unpack(value: bytes) -> str:
    """Return the text of a value.

    :raises ValueError: the value is neither a text nor a compressed text.
    """
    if not value.startswith(_PACKED):
        return value.decode()
    try:
        return gzip.decompress(base64.b64decode(value, validate=False)).decode()
    except (OSError, EOFError, binascii.Error) as error:
        raise ValueError(f"its compressed value is truncated ({error})") from error


def _rows(answer: dict[str, t.Any], number: int) -> list[dict[str, t.Any]]:
    rows: list[dict[str, t.Any]] = answer["responses"][number]["response_range"].get("kvs", [])
    return rows


def _value(answer: dict[str, t.Any], number: int) -> bytes | None:
    """Return the value of the only key of a range; ``None`` if there is no such key."""
    rows = _rows(answer, number)
    return _decode(rows[0].get("value", "")) if rows else None


def _words(marks: bytes | None) -> list[str]:
    return (marks or b"").decode(errors="replace").split()


def _equal(key: str, target: str, field: str, value: str) -> dict[str, t.Any]:
    """Return the condition that a property of a key has a value."""
    return {"key": _encode(key), "target": target, "result": "EQUAL", field: value}


def _encode(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _decode(value: str) -> bytes:
    return base64.b64decode(value)
