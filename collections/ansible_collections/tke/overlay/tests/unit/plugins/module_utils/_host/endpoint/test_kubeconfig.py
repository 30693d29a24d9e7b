# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of kubeconfigs: only the server changes, compared by PyYAML. Unsupported syntax is rejected, and no error shows
a part of the file.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
import os

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import (
    parse_kubeconfig,
    redacted_url,
)

NEW = "https://api.lab.internal:6443"
SECRET = base64.b64encode(b"-----BEGIN PRIVATE KEY-----\nverysecret\n-----END PRIVATE KEY-----").decode()

TEXT = f"""\
# a comment
apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: {base64.b64encode(b"a CA").decode()}
    server: https://10.0.0.1:6443  # the old one
  name: kubernetes
- name: "other"
  cluster: {{server: 'https://10.0.0.2:6443', insecure-skip-tls-verify: true}}
contexts:
- context:
    cluster: kubernetes
    user: me
  name: me@kubernetes
current-context: me@kubernetes
preferences: {{}}
users:
- name: me
  user:
    client-certificate-data: {base64.b64encode(b"certificate").decode()}
    client-key-data: {SECRET}
    exec:
      installHint: |
        clusters:
        - cluster:
            server: https://not.this.one
      args: [--server, "https://nor.this"]
      env:
      - name: A
        value: this one goes
          on in another line
    token:
"""


def changed(text, names=("kubernetes",)):
    config = parse_kubeconfig("/k", text)
    return config.with_server(config.select(names), NEW)


def loaded(text):
    """Return what PyYAML reads, with all scalars as text."""
    return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 # creates only text


def with_new_server(document, names):
    document = copy.deepcopy(document)
    for entry in document["clusters"]:
        if entry["name"] in names:
            entry["cluster"]["server"] = NEW
    return document


def test_changes_only_the_server():
    lines, after = TEXT.splitlines(), changed(TEXT).splitlines()
    different = [(old, new) for old, new in itertools.zip_longest(lines, after) if old != new]
    assert different == [
        ("    server: https://10.0.0.1:6443  # the old one", f"    server: {NEW}  # the old one"),
    ]
    assert f"cluster: {{server: '{NEW}', insecure" in changed(TEXT, ("other",))
    assert changed(changed(TEXT)) == changed(TEXT)
    crlf = TEXT.replace("\n", "\r\n")
    assert changed(crlf) == changed(TEXT).replace("\n", "\r\n")
    assert changed(json.dumps(loaded(TEXT), indent=1)) == json.dumps(
        with_new_server(loaded(TEXT), ["kubernetes"]), indent=1
    )


def test_reads_what_a_client_needs():
    kubernetes, other = parse_kubeconfig("/k", TEXT).clusters
    assert (kubernetes.authority, kubernetes.credentials.certificate) == (b"a CA", b"certificate")
    assert b"verysecret" in kubernetes.credentials.key
    assert "verysecret" not in repr(kubernetes)
    assert (other.authority, other.credentials) == (None, None)


# --- generated kubeconfigs in every style ---------------------------------------------------------

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12
) | st.sampled_from(
    [
        "server: https://no",
        "- x",
        "# no",
        "a: b",
        "'",
        '"',
        "{",
        "null",
        "a\nb",
        "x " * 60,
        "clusters:\n- cluster:\n",
        "\\",
    ]
)
KEYS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True).filter(
    lambda key: key not in ("server", "name", "cluster")
)
EXTRAS = st.recursive(
    WORDS, lambda node: st.lists(node, max_size=3) | st.dictionaries(KEYS, node, max_size=3), max_leaves=6
)
MORE = st.dictionaries(KEYS.filter(lambda key: not key.startswith(("certificate", "tls"))), EXTRAS, max_size=3)


@st.composite
def kubeconfigs(draw):
    names = draw(st.lists(st.sampled_from(["kubernetes", "a b", "1", "ü"]), min_size=1, max_size=3, unique=True))
    clusters = [
        {**draw(MORE), "name": name, "cluster": {**draw(MORE), "server": f"https://10.0.0.{number}:6443/x"}}
        for number, name in enumerate(names)
    ]
    document = {**draw(MORE), "kind": "Config", "clusters": clusters}
    return dict(draw(st.permutations(list(document.items()))))


STYLES = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([False, True, None]),
        "default_style": st.sampled_from([None, None, '"', "'"]),
        "indent": st.sampled_from([2, 4]),
        "width": st.sampled_from([30, 80, 1000]),
        "allow_unicode": st.booleans(),
        "explicit_start": st.booleans(),
        "sort_keys": st.booleans(),
    }
)


class Indented(yaml.SafeDumper):
    """A dumper that indents sequences deeper than their key."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


@given(kubeconfigs(), STYLES, st.sampled_from([yaml.SafeDumper, Indented]), st.data())
def test_changes_only_the_server_in_any_style(document, style, dumper, data):
    text = yaml.dump(document, Dumper=dumper, **style)
    names = [entry["name"] for entry in document["clusters"]]
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    after = changed(text, chosen)
    assert loaded(after) == with_new_server(loaded(text), chosen)
    assert len(after) - len(text) == sum(
        len(NEW) - len(f"https://10.0.0.{number}:6443/x") for number, name in enumerate(names) if name in chosen
    )


@given(kubeconfigs())
def test_reads_any_json(document):
    for indent in (None, 2, "\t"):
        text = json.dumps(document, indent=indent)
        names = [entry["name"] for entry in document["clusters"]]
        assert json.loads(changed(text, names)) == with_new_server(document, names)


PIECES = [*"'\"{}[],#\t\r\n\x85", "server: https://x",
          "name: kubernetes", "cluster:", "clusters:", "<<: *a", "&a ", "*a",
          "  ", "- ", ": ", " #", "? ", "!!str ", "|\n", ">-\n", "---\n", "..."]  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 12), st.sampled_from(PIECES)), min_size=1, max_size=3)
)
@example([(TEXT.index("  name: kubernetes"), 0, "---\n")])
def test_rejects_or_changes_correctly_a_damaged_file(edits):
    text = TEXT
    for place, length, piece in sorted(edits, reverse=True):
        text = text[:place] + piece + text[place + length :]
    try:
        after = changed(text)
    except ValidationError as error:
        if "verysecret" in str(error) or SECRET[:12] in str(error):
            raise
        return
    try:
        before = loaded(text)
    except yaml.YAMLError:
        assume(False)
    assert loaded(after) == with_new_server(before, ["kubernetes"])


# --- rejected kubeconfigs -------------------------------------------------------------------------

REJECTED = {
    "several clusters and none named": (TEXT, (), "(kubernetes, other): list those to change in clusters"),
    "a cluster that is not there": (TEXT, ("none",), "/k has no cluster none: it has kubernetes, other"),
    "no kubeconfig": ("a: b\n", (), "/k is no kubeconfig: it lacks 'kind: Config'"),
    "no cluster": ("kind: Config\nclusters: []\n", (), "/k has no clusters"),
    "no server": (TEXT.replace("server: https://10.0.0.1:6443", "x: y"), (), "cluster kubernetes has no server"),
    "an empty server": (TEXT.replace("https://10.0.0.1:6443", ""), (), "cluster kubernetes has no server"),
    "no URL": (TEXT.replace("https://10.0.0.1:6443", "10.0.0.1"), (), "/k, line 7: the server of cluster"),
    "an anchor": (TEXT.replace("https://10.0.0.1", "&a https://10.0.0.1"), (), "/k: line 7: an anchor, alias, tag"),
    "a tab": (TEXT.replace("    server:", "\tserver:"), (), "/k: line 7: a tab"),
    "two documents": (TEXT + "---\n", (), "line 34: more than one document"),
    "a key twice": (TEXT.replace("  name: kub", "  cluster: {}\n  name: kub"), (), "line 8: duplicate key"),
    "a name twice": (TEXT.replace('"other"', "kubernetes"), (), "/k has several clusters with the name kubernetes"),
    "a server over two lines": (TEXT.replace("6443  # the old one", "6443\n      x"), (), "is not a URL on one line"),
    "an open quote": (TEXT.replace("[--server, \"", "[--server, '"), (), "/k: line 28: a quote is not closed"),
    "data that a tag could be": (TEXT.replace(SECRET, "!x"), (), "/k: line 22: an anchor, alias, tag"),
    "a bad key": (TEXT.replace(SECRET, "abc"), (), "/k: client-key-data of user me is not base64"),
}  # fmt: skip


@pytest.mark.parametrize("case", REJECTED)
def test_an_error_names_file_line_and_cause(case):
    text, names, words = REJECTED[case]
    with pytest.raises(ValidationError, match=r"^/k") as caught:
        changed(text, names)
    assert words in str(caught.value)


def test_shows_a_server_without_a_password():
    assert redacted_url("https://me:pass@10.0.0.1:6443/x?token=1") == "https://10.0.0.1:6443/x"


def test_shows_no_server_that_is_not_a_url():
    assert redacted_url("https://[::1") == "(not a URL)"


CONFIG = "kind: Config\nclusters:\n- name: a\n  cluster: {server: 'https://10.0.0.1:6443'}\n"


@pytest.mark.parametrize("empty", ["", " null", " ~", " []"])
def test_an_empty_list_is_the_same_as_none(empty):
    (cluster,) = parse_kubeconfig("/k", f"{CONFIG}contexts:{empty}\nusers:{empty}\n").clusters
    assert cluster.credentials is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{CONFIG}users: {{}}\n", "/k: users is not a list of mappings"),
        (f"{CONFIG}contexts: [a]\n", "/k: contexts is not a list of mappings"),
        (CONFIG.replace("name: a", "name:"), "/k has a cluster without a name"),
        ("", "/k is no kubeconfig"),
        ("- Config\n", "/k is no kubeconfig"),
        (CONFIG.replace("Config", "[Config]"), "/k is no kubeconfig"),
    ],
)
def test_rejects_a_document_of_another_shape(text, words):
    with pytest.raises(ValidationError) as caught:
        parse_kubeconfig("/k", text)
    assert words in str(caught.value)


def test_reads_a_named_file_relative_to_the_kubeconfig(tmp_path):
    text = CONFIG.replace("}", ", certificate-authority: pki/ca.crt}")
    path = f"{tmp_path}/k"
    with pytest.raises(ValidationError) as caught:
        parse_kubeconfig(path, text)
    for words in (path, "certificate-authority of cluster a", f"{tmp_path}/pki/ca.crt cannot be read", "No such file"):
        assert words in str(caught.value)
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki/ca.crt").write_text("PEM")
    assert parse_kubeconfig(path, text).clusters[0].authority == b"PEM"


def no_path(character):
    return lambda place: f'"{character}"'


def pipe(place):
    os.mkfifo(place)
    return str(place)


def large(place):
    place.write_bytes(b"x" * ((1 << 20) + 1))
    return str(place)


NO_FILES = {
    "a pipe": (pipe, "it is no regular file"),
    "a device": (lambda place: "/dev/zero", "it is no regular file"),
    "a directory": (lambda place: str(place.parent), "Is a directory"),
    "a large file": (large, "it has more than 1048576 bytes"),
    "a NUL": (no_path("\\0"), "it is no path"),
    "half of a character": (no_path("\\ud800"), "it is no path"),
}


@pytest.mark.parametrize("case", NO_FILES)
def test_a_named_file_that_cannot_be_read_is_an_error(tmp_path, case):
    make, words = NO_FILES[case]
    text = CONFIG.replace("}", f", certificate-authority: {make(tmp_path / 'ca')}}}")
    with pytest.raises(ValidationError) as caught:
        parse_kubeconfig(f"{tmp_path}/k", text)
    for each in (f"{tmp_path}/k: certificate-authority of cluster a: ", "cannot be read: ", words):
        assert each in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("data", ["DATA+OMITTED", "REDACTED"])
@pytest.mark.parametrize("key", ["certificate-authority", "client-certificate", "client-key"])
def test_names_data_that_kubectl_left_out(key, data):
    kept = {"certificate-authority": "Y2E=", "client-certificate": "YQ==", "client-key": "Yg=="}
    given = {f"{name}-data": data if name == key else text for name, text in kept.items()}
    user = {name: text for name, text in given.items() if name.startswith("client")}
    document = {
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": "https://a:1", **given}}],
        "contexts": [{"name": "x", "context": {"cluster": "a", "user": "me"}}],
        "users": [{"name": "me", "user": user}],
    }
    with pytest.raises(ValidationError) as caught:
        parse_kubeconfig("/k", json.dumps(document))
    for words in ("/k: ", f"{key}-data of ", f" is {data}, which 'kubectl config view'", "--raw"):
        assert words in str(caught.value)


def test_reads_what_weakens_the_check_of_the_server():
    text = CONFIG.replace("}", ", insecure-skip-tls-verify: true, proxy-url: 'http://p:3128'}")
    (cluster,) = parse_kubeconfig("/k", text).clusters
    assert (cluster.insecure, cluster.proxy) == (True, "http://p:3128")
    (plain,) = parse_kubeconfig("/k", CONFIG).clusters
    assert (plain.insecure, plain.proxy) == (False, "")
    with pytest.raises(ValidationError, match="cluster a has a CA and insecure-skip-tls-verify: true"):
        parse_kubeconfig("/k", text.replace("proxy-url: 'http://p:3128'", "certificate-authority-data: Y2E="))


def test_a_fault_of_another_cluster_does_not_matter():
    other = ", certificate-authority: /none/ca.crt}"
    text = CONFIG + CONFIG.partition("clusters:\n")[2].replace("name: a", "name: b").replace("}", other)
    config = parse_kubeconfig("/k", text, ["a"])
    assert [cluster.name for cluster in config.clusters] == ["a", "b"]
    with pytest.raises(ValidationError, match=r"certificate-authority of cluster b: /none/ca\.crt cannot be read"):
        parse_kubeconfig("/k", text, ["a", "b"])
    without = text.replace("cluster: {server: 'https://10.0.0.1:6443', certificate", "cluster: {certificate")
    for server in ("", "server: '', ", "server: [], ", "server: x, "):
        config = parse_kubeconfig(
            "/k", without.replace("cluster: {certificate", f"cluster: {{{server}certificate"), ["a"]
        )
        assert "server: 'https://new'" in config.with_server(config.select(["a"]), "https://new")
