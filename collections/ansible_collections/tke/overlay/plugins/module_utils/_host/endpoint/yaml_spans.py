# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: a reader for the YAML and JSON of kubeconfigs, which knows where in the text each value stands.

A host has no YAML library, and one that it had would write the whole file anew. So
values are found here, and replaced where they stand. What is read is a part of
YAML: mappings, sequences, scalars of every style, JSON; one document. What is not
(anchors, aliases, tags, complex keys, tabs) is refused: whoever guesses at it may
replace the wrong thing.

An error names a line and never shows it: kubeconfigs hold keys and tokens.
"""

from __future__ import annotations

import bisect
import re
import typing as t


class Unreadable(Exception):
    """The text has something at a line that this reader does not know."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {what}")


class Scalar(t.NamedTuple):
    """A value and where it stands: ``text[start:end]``, with its quotes. Nothing (``key:``) stands nowhere."""

    value: str
    start: int
    end: int
    line: int
    whole: bool = True  # whether it stands on one line, as what is replaced must


Node = t.Union[Scalar, t.Dict[str, t.Any], t.List[t.Any]]
"""A scalar, a mapping or a sequence."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^']|'')*)'")
_BLOCK_HEADER = re.compile(r"[|>][0-9+-]{0,2}[ ]*(?: #.*)?$")
# Line breaks to some readers of YAML and not to others, a lone carriage return among them; and what YAML forbids.
_STRANGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]|\r(?!\n)")
_MARK = re.compile(r"^(?:---|\.\.\.)(?=\s|$)", re.MULTILINE | re.ASCII)
_ESCAPES = dict(zip('0abtnvfre "/\\N_LP', '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029'))
_ESCAPE = r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n[ ]*|.)"
_FOLD = r"[ ]*(?:\r?\n[ ]*)+"
_ESCAPE_OR_FOLD = re.compile(f"{_ESCAPE}|{_FOLD}", re.DOTALL)
_FLOW_PLAIN = re.compile(
    r"(?:[^\s,\[\]{}#&*!|>'\"%@`?:-]|-(?=[^\s,\[\]{}:#]))"  # how it may begin
    r"(?:[^\s,\[\]{}:#]|:(?=[^\s,\[\]{}])|(?<=\S)#|[ \r\n]+(?=[^\s,\[\]{}:#]))*",
    re.ASCII,
)


def read(text: str) -> Node:
    """The document.

    :raises Unreadable: it is not written in the part of YAML that is read here.
    """
    strange = _STRANGE.search(text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        raise Unreadable(line, f"the character U+{ord(strange.group()):04X} has no place in a kubeconfig")
    return _Reader(text).document()


class _Reader:
    """Where the reading stands is one offset, ``here``; rows and columns follow from it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.here = 0

    def document(self) -> Node:
        column = self._next()
        for mark in _MARK.finditer(self.text):
            if mark.start() != self.here or mark.group() != "---":
                raise self._unreadable("more than one document", mark.start())
        if _MARK.match(self._row()):
            self.here += 3
            if not re.match(r" +[{\[]", self._row()):
                self._end_of_row()
            column = self._next()
        if column is None:
            return {}
        node = self._inline(-1) if self.text[self.here] in "{[" else self._block(column)
        if self._next() is not None:
            raise self._unreadable("the document should end here, or is indented otherwise than what stands before")
        return node

    # --- where we are ---

    def _unreadable(self, what: str, offset: int | None = None) -> Unreadable:
        return Unreadable(bisect.bisect_right(self.starts, self.here if offset is None else offset), what)

    def _number(self) -> int:
        """Of this line, counted from 0."""
        return bisect.bisect_right(self.starts, self.here) - 1

    def _row(self) -> str:
        """The rest of this line."""
        end = self.text.find("\n", self.here)
        return self.text[self.here : None if end < 0 else end].rstrip("\r")

    def _next(self) -> int | None:
        """Goes to the next thing that is no space, blank line or comment; returns its column, None at the end."""
        while self.here < len(self.text):
            character = self.text[self.here]
            if character == "#" and (self.here == 0 or self.text[self.here - 1] in " \n"):
                self.here += len(self._row())
            elif character in " \n\r":
                self.here += 1
            elif character == "\t":
                raise self._unreadable("a tab")
            else:
                return self.here - self.starts[self._number()]
        return None

    def _end_of_row(self) -> None:
        """Nothing else may stand on this line."""
        if not re.match(r" *(?:$| #)", self._row()):
            raise self._unreadable("something follows a value")

    # --- block style ---

    def _block(self, column: int) -> Node:
        if self._dash():
            return self._sequence(column)
        if self._key_end() is not None:
            return self._mapping(column)
        raise self._unreadable("neither 'key: value' nor '- item'")

    def _dash(self) -> bool:
        return re.match(r"-(?:[ \r]|$)", self._row()) is not None

    def _key_end(self) -> int | None:
        """Where the colon of a key stands that begins here, if one does."""
        row = self._row()
        match = (_DOUBLE if row[:1] == '"' else _SINGLE if row[:1] == "'" else _KEY).match(row)
        if not match:
            return None
        colon = re.compile(r" *:(?=[ \r]|$)").match(row, match.end())
        return self.here + colon.end() - 1 if colon else None

    def _key(self) -> str:
        if self.text[self.here] in "\"'":
            key = self._quoted()
            if not key.whole:
                raise self._unreadable("a key over several lines", key.start)
            return key.value
        match = _KEY.match(self.text, self.here)
        if not match:
            raise self._unreadable("a key that this reader does not know")
        self.here = match.end()
        return match.group()

    def _mapping(self, column: int) -> dict[str, Node]:
        mapping: dict[str, Node] = {}
        while self._next() == column and not self._dash():
            colon = self._key_end()
            if colon is None:
                raise self._unreadable("no 'key: value'")
            begin, key = self.here, self._key()
            if key in mapping:
                raise self._unreadable("a key that stands here already", begin)
            self.here = colon + 1
            mapping[key] = self._value(column)
        self._not_deeper(column)
        return mapping

    def _sequence(self, column: int) -> list[Node]:
        items: list[Node] = []
        while self._next() == column and self._dash():
            self.here += 1
            row = self._number()
            inside = self._next()
            if inside is None or inside <= column:
                items.append(self._nothing())
            elif self._number() != row or self._dash() or self._key_end() is not None:
                items.append(self._flow_or_block(inside, column))
            else:
                items.append(self._inline(column))
        self._not_deeper(column)
        return items

    def _not_deeper(self, column: int) -> None:
        after = self._next()
        if after is not None and after > column:
            raise self._unreadable("indented otherwise than what stands before")

    def _nothing(self) -> Scalar:
        return Scalar("", self.here, self.here, self._number() + 1)

    def _value(self, column: int) -> Node:
        """What belongs to a key in this column, from behind its colon."""
        row = self._number()
        inside = self._next()
        if inside is not None and self._number() == row:
            if self._dash():
                raise self._unreadable("a sequence on the line of its key")
            return self._inline(column)
        if inside is None or inside < column or (inside == column and not self._dash()):
            return self._nothing()
        if inside == column:
            return self._sequence(column)
        return self._flow_or_block(inside, column)

    def _flow_or_block(self, inside: int, column: int) -> Node:
        if self._dash() or self._key_end() is not None:
            return self._block(inside)
        return self._inline(column)

    def _inline(self, column: int) -> Node:
        """A value that begins here; it goes on in lines that are indented deeper than ``column``."""
        first = self.text[self.here]
        if first in "{[":
            node = self._flow()
        elif first in "\"'":
            node = self._quoted()
        elif first in "|>":
            return self._literal(column)
        else:
            return self._plain(column)
        self._end_of_row()
        return node

    def _literal(self, column: int) -> Scalar:
        start, line = self.here, self._number() + 1
        if not _BLOCK_HEADER.match(self._row()):
            raise self._unreadable("a block of text whose first line this reader does not know")
        self.here += len(self._row())
        begin = self.here
        number = self._number() + 1
        while number < len(self.starts):
            self.here = self.starts[number]
            row = self._row()
            if row.strip(" ") and len(row) - len(row.lstrip(" ")) <= column:
                break
            self.here += len(row)
            number += 1
        return Scalar(self.text[begin : self.here].strip(" \r\n"), start, self.here, line, whole=False)

    def _plain(self, column: int) -> Scalar:
        start, line = self.here, self._number() + 1
        value = self._plain_row()
        end = self.here
        while True:
            inside = self._next()
            # A comment ends a plain value; this is refused, not guessed at.
            if inside is None or inside <= column:
                break
            if "#" in self.text[end : self.here]:
                raise self._unreadable("a value that goes on behind a comment")
            value += re.sub(_FOLD, _fold, self.text[end : self.here]) + self._plain_row(first=False)
            end = self.here
        return Scalar(value, start, end, line, whole="\n" not in self.text[start:end])

    def _plain_row(self, first: bool = True) -> str:
        row = re.split(r"(?<=[ ])#", self._row(), maxsplit=1)[0].rstrip(" ")
        if "\t" in row:
            raise self._unreadable("a tab")
        if first and (row[0] in "&*!%@`,]}#" or row[:2] in ("?", "? ")):
            raise self._unreadable("an anchor, alias, tag or other thing that this reader does not know")
        if re.search(r":(?: |$)", row):
            raise self._unreadable("a colon inside a value")
        self.here += len(row)
        return row

    # --- quotes and flow style ---

    def _quoted(self) -> Scalar:
        start, line = self.here, self._number() + 1
        double = self.text[start] == '"'
        match = (_DOUBLE if double else _SINGLE).match(self.text, start)
        if not match:
            raise self._unreadable("a quote that is not closed")
        self.here = match.end()
        raw = match.group(1)
        inner = self._unescaped(raw, start) if double else re.sub(_FOLD, _fold, raw).replace("''", "'")
        return Scalar(inner, start, self.here, line, whole="\n" not in raw)

    def _unescaped(self, raw: str, start: int) -> str:
        def character(match: re.Match[str]) -> str:
            escape = match.group(1)
            if escape is None:
                return _fold(match)
            if escape[0] in "\r\n":
                return ""
            if len(escape) > 1 and int(escape[1:], 16) < 0x110000:
                return chr(int(escape[1:], 16))
            if escape not in _ESCAPES:
                raise self._unreadable("an escape that this reader does not know", start)
            return _ESCAPES[escape]

        return _ESCAPE_OR_FOLD.sub(character, raw)

    def _flow(self) -> Node:
        opening = self.text[self.here]
        closing = "}" if opening == "{" else "]"
        mapping: dict[str, Node] = {}
        items: list[Node] = []
        begin = self.here
        self.here += 1
        while True:
            if self._next() is None:
                raise self._unreadable(f"{opening!r} is not closed", begin)
            if self.text[self.here] == closing:
                self.here += 1
                return mapping if closing == "}" else items
            if closing == "}":
                self._flow_pair(mapping)
            else:
                items.append(self._flow_value())
            if self._next() is None or self.text[self.here] not in f",{closing}":
                raise self._unreadable(f"neither ',' nor {closing!r} where one should be")
            if self.text[self.here] == ",":
                self.here += 1

    def _flow_pair(self, mapping: dict[str, Node]) -> None:
        begin, quoted = self.here, self.text[self.here] in "\"'"
        key = self._key()
        if key in mapping:
            raise self._unreadable("a key that stands here already", begin)
        colon = re.compile(r" *:" if quoted else r" *:(?=[ \r\n])").match(self.text, self.here)
        if not colon:
            raise self._unreadable("a key without ': '")
        self.here = colon.end()
        self._next()
        mapping[key] = self._flow_value()

    def _flow_value(self) -> Node:
        first = self.text[self.here : self.here + 1]
        if first and first in "{[":
            return self._flow()
        if first and first in "\"'":
            return self._quoted()
        start, line = self.here, self._number() + 1
        match = _FLOW_PLAIN.match(self.text, start)
        if not match:
            raise self._unreadable("a value that this reader does not know")
        self.here = match.end()
        value = match.group()
        return Scalar(re.sub(_FOLD, _fold, value), start, self.here, line, whole="\n" not in value)


def _fold(match: re.Match[str]) -> str:
    """Lines of one value are joined by a space, or by as many line breaks as there are empty lines."""
    breaks = match.group().count("\n")
    return " " if breaks == 1 else "\n" * (breaks - 1)
