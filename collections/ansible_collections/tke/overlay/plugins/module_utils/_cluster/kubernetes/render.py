# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render documents as YAML with a comment for each value.

Texts are written as JSON strings, which YAML reads as they are: a value never becomes syntax.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import textwrap
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.documents import (
    LIST,
    MAP,
    Arguments,
    Document,
    Fields,
    Omitted,
    Value,
    documents_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.extra import add_extra
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.reasons import REASONS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.settings import (
    FIRST,
    KUBEADM,
    NODE,
    ClusterValues,
    Member,
    problems_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

with contextlib.suppress(ImportError):  # ansible-test imports all module_utils without it; ansible-core requires it
    import jinja2

TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")

MARK = "# Written by tke.overlay.kubernetes_config for "
"""The beginning of each file, by which it is recognised."""

WIDTH = 110

HIDDEN, HIDDEN_NEW = '"(hidden)"', '"(hidden, new)"'
"""What a diff shows for a secret, and for one that differs from all of the file before."""

_SECRET = re.compile(
    r"""(?P<name>[\w-]*(?:token|key|secret|password)"?: )"(?P<value>(?:[^"\\]|\\.)*)\"""", re.IGNORECASE
)
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]+")
_WORDS_OF_YAML = ("no", "on", "off", "yes", "true", "false", "null")


class Line(t.NamedTuple):
    """One line of YAML and the comment above it. Without a text, there is only the comment."""

    indent: str
    text: str
    remarks: t.Sequence[str] = ()


class LineDocument(t.NamedTuple):
    """A document as lines, for the template."""

    name: str
    api_version: str
    lines: t.Sequence[Line]


def render(values: ClusterValues, members: t.Sequence[Member]) -> dict[str, str]:
    """Return the text of each host's file.

    :raises ValidationError: names everything that cannot work, for all hosts.
    """
    problems, texts = problems_of(values, members), {}
    for member in members:
        documents, of_extra = add_extra(values, documents_of(values, member), member.extra)
        problems += [problem for problem in of_extra if problem not in problems]
        if not problems:
            texts[member.host] = _text(values, member, documents)
    if problems:
        raise ValidationError(*problems)
    return texts


def without_secrets(before: str, after: str) -> tuple[str, str]:
    """Return two texts of a file for a diff, without the secrets in them."""
    known = {found["value"] for found in _SECRET.finditer(before)}

    def hidden(found: re.Match[str]) -> str:
        return found["name"] + (HIDDEN if found["value"] in known else HIDDEN_NEW)

    return _SECRET.sub(hidden, before), _SECRET.sub(hidden, after)


def _text(values: ClusterValues, member: Member, documents: t.Sequence[Document]) -> str:
    listed = [LineDocument(each.name, each.api_version, list(_lines(each.fields, ""))) for each in documents]
    return _template().render(host=member.host, usage=_usage(values, member), documents=listed)


@functools.lru_cache(maxsize=None)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # YAML; every text is a JSON string
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("config.yaml.j2")


def _usage(values: ClusterValues, member: Member) -> list[str]:
    """Return where the file belongs and what reads it."""
    if values.distribution != KUBEADM:
        program = f"{values.distribution} {'agent' if member.role == NODE else 'server'}"
        return [f"Copy it to /etc/rancher/{values.distribution}/config.yaml of the host, before '{program}' starts."]
    upload = " --upload-certs" if values.secrets.certificate_key else ""
    command = f"kubeadm init{upload} --config FILE" if member.role == FIRST else "kubeadm join --config FILE"
    return [f"Copy it to the host, and run there: {command}"]


def _lines(fields: Fields, indent: str) -> t.Iterator[Line]:
    for name, field in fields.items():
        key = name if _KEY.fullmatch(name) and name.lower() not in _WORDS_OF_YAML else _scalar(name)
        if isinstance(field, Omitted):
            reason = REASONS[field.about]
            yield Line(indent, "", _remarks(f"{name} is {reason.what}. {reason.why}", indent))
        elif isinstance(field, Value):
            yield from _value(key, field, indent)
        elif isinstance(field, Arguments):
            yield Line(indent, f"{key}:")
            yield from _flags(field, f"{indent}  ")
        else:
            yield Line(indent, f"{key}:")
            yield from _lines(field, f"{indent}  ")


def _value(key: str, field: Value, indent: str) -> t.Iterator[Line]:
    remarks = _remarks(REASONS[field.about].why, indent) if field.about else []
    if isinstance(field.value, list) and field.value:
        yield Line(indent, f"{key}:", remarks)
        yield from (Line(indent, f"  - {_scalar(item)}") for item in field.value)
    else:
        yield Line(indent, f"{key}: {_scalar(field.value)}", remarks)


def _flags(field: Arguments, indent: str) -> t.Iterator[Line]:
    for name, each in field.items:
        remarks = _remarks(REASONS[each.about].why, indent) if each.about else []
        if field.style == LIST:
            yield Line(indent, f"- name: {_scalar(name)}", remarks)
            yield Line(indent, f"  value: {_scalar(each.value)}")
        elif field.style == MAP:
            yield Line(indent, f"{_scalar(name)}: {_scalar(each.value)}", remarks)
        else:
            yield Line(indent, f"- {_scalar(f'{name}={each.value}')}", remarks)


def _scalar(value: t.Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _remarks(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - len(indent))
