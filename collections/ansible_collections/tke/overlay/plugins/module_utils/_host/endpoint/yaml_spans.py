# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A parser for the YAML and JSON of kubeconfigs that returns the position of each value in the text.

A managed host may lack a YAML library, and a library would rewrite the whole file. So
this parser finds values, and the caller replaces them in place. It supports a subset
of YAML: one document of mappings, sequences, scalars of every style, and JSON. It
rejects the rest (anchors, aliases, tags, complex keys, tabs outside of JSON), because a
wrong guess could replace the wrong value.

An error names a line but never shows it: kubeconfigs hold keys and tokens.
"""

from __future__ import annotations

import bisect
import functools
import re
import typing as t

MOST_LEVELS = 50
"""How deep mappings and sequences may be nested. A kubeconfig has about six levels."""


class UnsupportedYamlError(Exception):
    """The text has a syntax error, or YAML that this parser does not support."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {what}")


class Scalar(t.NamedTuple):
    """A value and its position ``text[start:end]``, which includes quotes. An empty value has an empty position.

    ``single_line`` is whether it is on one line; only such a value can be replaced.
    """

    value: str
    start: int
    end: int
    line: int
    single_line: bool = True


Node = t.Union[Scalar, t.Dict[str, t.Any], t.List[t.Any]]
"""A scalar, a mapping or a sequence."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^']|'')*)'")
_BLOCK_HEADER = re.compile(r"[|>][0-9+-]{0,2}[ ]*(?: #.*)?$")
# Characters that YAML forbids, and those that only some YAML parsers take for a line break, such as a lone CR.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]|\r(?!\n)")
_MARK = re.compile(r"^(?:---|\.\.\.)(?=\s|$)", re.MULTILINE | re.ASCII)
_ESCAPES = dict(zip('0abtnvfre "/\\N_LP', '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029'))
_ESCAPE = r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n[ ]*|.)"
# Blanks alone match, too: to look for a line end behind each of them takes a time that grows with their square.
_FOLD = r"[ ]*(?:\r?\n[ ]*)+|[ ]+"
_ESCAPE_OR_FOLD = re.compile(f"{_ESCAPE}|{_FOLD}", re.DOTALL)
_FLOW_PLAIN = re.compile(
    r"(?:[^\s,\[\]{}#&*!|>'\"%@`?:-]|-(?=[^\s,\[\]{}:#]))"  # the first character
    r"(?:[^\s,\[\]{}:#]|:(?=[^\s,\[\]{}])|(?<=\S)#|[ \r\n]+(?=[^\s,\[\]{}:#]))*",
    re.ASCII,
)


def parse_yaml(text: str) -> Node:
    """Parse a document.

    :raises UnsupportedYamlError: the text is not in the supported subset of YAML.
    """
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        raise UnsupportedYamlError(line, f"the character U+{ord(forbidden.group()):04X} is not allowed in a kubeconfig")
    return _Parser(text).document()


_Parsed = t.TypeVar("_Parsed")


def _nested(parse: t.Callable[..., _Parsed]) -> t.Callable[..., _Parsed]:
    """Limit how deep a method that parses a mapping or a sequence may call itself."""

    @functools.wraps(parse)
    def limited(parser: _Parser, *arguments: t.Any) -> _Parsed:
        parser.levels += 1
        if parser.levels > MOST_LEVELS:
            raise parser.error(f"more than {MOST_LEVELS} levels")
        try:
            return parse(parser, *arguments)
        finally:
            parser.levels -= 1

    return limited


class _Parser:
    """A recursive parser. Its position is one offset, ``here``, from which line and column follow."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.here = 0
        self.levels = 0
        self.is_json = text.lstrip()[:1] == "{"

    def document(self) -> Node:
        column = self._next()
        for mark in _MARK.finditer(self.text):
            if mark.start() != self.here or mark.group() != "---":
                raise self.error("more than one document", mark.start())
        if _MARK.match(self._row()):
            self.here += 3
            if not re.match(r" +[{\[]", self._row()):
                self._end_of_row()
            column = self._next()
        if column is None:
            return {}
        node = self._inline(-1) if self.text[self.here] in "{[" else self._block(column)
        if self._next() is not None:
            raise self.error("expected the end of the document, or another indentation")
        return node

    # --- position ---

    def error(self, what: str, offset: int | None = None) -> UnsupportedYamlError:
        return UnsupportedYamlError(bisect.bisect_right(self.starts, self.here if offset is None else offset), what)

    def _number(self) -> int:
        """Return the number of the current line, counted from 0."""
        return bisect.bisect_right(self.starts, self.here) - 1

    def _row(self) -> str:
        """Return the rest of the current line."""
        end = self.text.find("\n", self.here)
        return self.text[self.here : None if end < 0 else end].rstrip("\r")

    def _next(self) -> int | None:
        """Skip blanks, empty lines and comments; return the column of what follows, or None at the end of the text."""
        while self.here < len(self.text):
            character = self.text[self.here]
            if character == "#" and (self.here == 0 or self.text[self.here - 1] in " \n"):
                self.here += len(self._row())
            elif character in " \n\r" or (character == "\t" and self.is_json):
                self.here += 1
            elif character == "\t":
                raise self.error("a tab is not allowed here")
            else:
                return self.here - self.starts[self._number()]
        return None

    def _end_of_row(self) -> None:
        """Check that only a comment follows on this line."""
        if not re.match(r" *(?:$| #)", self._row()):
            raise self.error("unexpected text after a value")

    # --- block style ---

    def _block(self, column: int) -> Node:
        if self._dash():
            return self._sequence(column)
        if self._key_end() is not None:
            return self._mapping(column)
        raise self.error("expected 'key: value' or '- item'")

    def _dash(self) -> bool:
        return re.match(r"-(?:[ \r]|$)", self._row()) is not None

    def _key_end(self) -> int | None:
        """Return the position of the colon of a key that begins here, if one does."""
        row = self._row()
        match = (_DOUBLE if row[:1] == '"' else _SINGLE if row[:1] == "'" else _KEY).match(row)
        if not match:
            return None
        colon = re.compile(r" *:(?=[ \r]|$)").match(row, match.end())
        return self.here + colon.end() - 1 if colon else None

    def _key(self) -> str:
        if self.text[self.here] in "\"'":
            key = self._quoted()
            if not key.single_line:
                raise self.error("a key spans several lines", key.start)
            return key.value
        match = _KEY.match(self.text, self.here)
        if not match:
            raise self.error("unsupported key")
        self.here = match.end()
        return match.group()

    @_nested
    def _mapping(self, column: int) -> dict[str, Node]:
        mapping: dict[str, Node] = {}
        while self._next() == column and not self._dash():
            colon = self._key_end()
            if colon is None:
                raise self.error("expected 'key: value'")
            begin, key = self.here, self._key()
            if key in mapping:
                raise self.error("duplicate key", begin)
            self.here = colon + 1
            mapping[key] = self._value(column)
        self._not_deeper(column)
        return mapping

    @_nested
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
            raise self.error("inconsistent indentation")

    def _nothing(self) -> Scalar:
        return Scalar("", self.here, self.here, self._number() + 1)

    def _value(self, column: int) -> Node:
        """Parse the value of a key in this column, from the position after its colon."""
        row = self._number()
        inside = self._next()
        if inside is not None and self._number() == row:
            if self._dash():
                raise self.error("a sequence begins on the line of its key")
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
        """Parse a value that begins here and continues in lines that are indented deeper than ``column``."""
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
            raise self.error("unsupported header of a block scalar")
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
        return Scalar(self.text[begin : self.here].strip(" \r\n"), start, self.here, line, single_line=False)

    def _plain(self, column: int) -> Scalar:
        start, line = self.here, self._number() + 1
        value = self._plain_row()
        end = self.here
        while True:
            inside = self._next()
            # A comment ends a plain value. A continuation after it is rejected instead of guessed.
            if inside is None or inside <= column:
                break
            if "#" in self.text[end : self.here]:
                raise self.error("a value continues after a comment")
            value += re.sub(_FOLD, _fold, self.text[end : self.here]) + self._plain_row(first=False)
            end = self.here
        return Scalar(value, start, end, line, single_line="\n" not in self.text[start:end])

    def _plain_row(self, first: bool = True) -> str:
        row = re.split(r"(?<=[ ])#", self._row(), maxsplit=1)[0].rstrip(" ")
        if "\t" in row:
            raise self.error("a tab is not allowed here")
        if first and (row[0] in "&*!%@`,]}#" or row[:2] in ("?", "? ")):
            raise self.error("an anchor, alias, tag or other unsupported syntax")
        if re.search(r":(?: |$)", row):
            raise self.error("a colon inside a value")
        self.here += len(row)
        return row

    # --- quotes and flow style ---

    def _quoted(self) -> Scalar:
        start, line = self.here, self._number() + 1
        double = self.text[start] == '"'
        match = (_DOUBLE if double else _SINGLE).match(self.text, start)
        if not match:
            raise self.error("a quote is not closed")
        self.here = match.end()
        raw = match.group(1)
        inner = self._unescaped(raw, start) if double else re.sub(_FOLD, _fold, raw).replace("''", "'")
        return Scalar(inner, start, self.here, line, single_line="\n" not in raw)

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
                raise self.error("unsupported escape sequence", start)
            return _ESCAPES[escape]

        return _ESCAPE_OR_FOLD.sub(character, raw)

    @_nested
    def _flow(self) -> Node:
        opening = self.text[self.here]
        closing = "}" if opening == "{" else "]"
        mapping: dict[str, Node] = {}
        items: list[Node] = []
        begin = self.here
        self.here += 1
        while True:
            if self._next() is None:
                raise self.error(f"{opening!r} is not closed", begin)
            if self.text[self.here] == closing:
                self.here += 1
                return mapping if closing == "}" else items
            if closing == "}":
                self._flow_pair(mapping)
            else:
                items.append(self._flow_value())
            if self._next() is None or self.text[self.here] not in f",{closing}":
                raise self.error(f"expected ',' or {closing!r}")
            if self.text[self.here] == ",":
                self.here += 1

    def _flow_pair(self, mapping: dict[str, Node]) -> None:
        begin, quoted = self.here, self.text[self.here] in "\"'"
        key = self._key()
        if key in mapping:
            raise self.error("duplicate key", begin)
        colon = re.compile(r" *:" if quoted else r" *:(?=[ \r\n])").match(self.text, self.here)
        if not colon:
            raise self.error("expected ': ' after a key")
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
            raise self.error("unsupported value")
        self.here = match.end()
        value = match.group()
        return Scalar(re.sub(_FOLD, _fold, value), start, self.here, line, single_line="\n" not in value)


def _fold(match: re.Match[str]) -> str:
    """Join the lines of one value by a space, or by as many line breaks as there are empty lines.

    Blanks inside a line stay.
    """
    breaks = match.group().count("\n")
    if breaks == 0:
        return match.group()
    return " " if breaks == 1 else "\n" * (breaks - 1)
