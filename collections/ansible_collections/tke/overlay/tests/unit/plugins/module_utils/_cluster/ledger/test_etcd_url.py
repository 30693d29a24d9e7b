# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import etcd as store_etcd
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_url import EtcdAccess, parse_url
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


@pytest.mark.parametrize(
    ("url", "endpoints", "prefix"),
    [
        ("etcd://a:2379/demo", ["a:2379"], "demo"),
        ("etcd://a:2379,b:3379,c/demo/", ["a:2379", "b:3379", "c:2379"], "demo"),
        ("etcd://[2001:db8::1]:2379,[::1]/team/demo", ["[2001:db8::1]:2379", "[::1]:2379"], "team/demo"),
        ("etcds://a:2379//rooted", ["a:2379"], "/rooted"),
    ],
)
def test_parses_endpoints_and_prefix(url, endpoints, prefix):
    place = parse_url(url, {})
    assert [str(endpoint) for endpoint in place.endpoints] == endpoints
    assert place.prefix == prefix
    assert place.where == f"{url.partition(':')[0]}://{','.join(endpoints)}/{prefix}"
    assert place.access == EtcdAccess(tls=url.startswith("etcds"))


def test_url_overrides_the_environment_of_etcdctl(tmp_path):
    (tmp_path / "secret").write_text("from the file\n")
    environment = {
        "ETCDCTL_CACERT": "/env/ca",
        "ETCDCTL_CERT": "/env/cert",
        "ETCDCTL_KEY": "/env/key",
        "ETCDCTL_USER": "carol:from the user",
    }
    assert parse_url("etcds://a/demo", environment).access == EtcdAccess(
        True, "/env/ca", "/env/cert", "/env/key", "carol", "from the user"
    )
    assert parse_url("etcd://a/demo", environment).access == EtcdAccess(user="carol", password="from the user")
    query = f"cacert=/url/ca&cert=/url/cert&key=/url/key&user=dave&password_file={tmp_path}/secret"
    place = parse_url(f"etcds://a/demo?{query}", environment)
    assert place.access == EtcdAccess(True, "/url/ca", "/url/cert", "/url/key", "dave", "from the file")
    assert place.where == "etcds://a:2379/demo"
    environment = {"ETCDCTL_USER": "carol", "ETCDCTL_PASSWORD": "alone"}
    assert parse_url("etcd://a/demo", environment).access.password == "alone"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("etcd://", ["the endpoint '' is invalid", "prefix of the keys is missing"]),
        ("etcd://a:2379", ["prefix of the keys is missing"]),
        ("etcd://a:2379/", ["prefix of the keys is missing"]),
        ("etcd:///demo", ["the endpoint '' is invalid"]),
        ("etcd://a:x,,b:99999/demo", ["'a:x' is invalid", "'' is invalid", "'b:99999' is invalid"]),
        ("etcd://2001:db8::1/demo", ["'2001:db8::1' is invalid"]),
        ("etcd://a:0/demo", ["'a:0' is invalid"]),
        ("etcds://a/demo?ca=/x&cert=/y", ["not ca"]),
        ("etcds://a/demo?cert=/y", ["cert and key", "must be set together"]),
        ("etcd://a/demo?cacert=/x", ["use etcds://"]),
        ("etcd://a/demo?nonsense", ["demo?nonsense"]),
        ("etcd://a/demo?user=carol", ["user carol has no password"]),
        ("etcd://a/demo?password_file=/nowhere/secret", ["/nowhere/secret"]),
        ("consul://a/demo", ["a ledger is in a file", "or in etcd"]),
    ],
)
def test_names_every_mistake_of_a_url(url, words):
    with pytest.raises(ValidationError) as caught:
        open_store(url)
    for word in words:
        assert word in str(caught.value)


def test_password_in_the_url_is_rejected_and_hidden():
    with pytest.raises(ValidationError, match="a user is not allowed there") as caught:
        parse_url("etcd://carol:s3cret@a:2379,b/demo", {})
    assert "s3cret" not in str(caught.value)


def test_missing_library_names_the_command_to_install_it(monkeypatch):
    monkeypatch.setattr(store_etcd, "HAS_ETCD3GW", False)
    with pytest.raises(ValidationError, match="-m pip install etcd3gw"):
        open_store("etcd://a:2379/demo")


def problems_of_call(work, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **options)
    return caught.value.problems


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("etcd://me@h/p", "'etcd://...@h/p': a user is not allowed there, because the URL is logged: use ?user=name"),
        ("etcd://a:1,me:pw@b:x/p/q", "'etcd://a:1,...@b:x/p/q': a user is not allowed there"),
        ("etcd://h:0/p/q", "'etcd://h:0/p/q': the endpoint 'h:0' is invalid"),
        ("etcd://h/p?key=a://b", "'etcd://h/p?key=a://b': cacert, cert and key are for TLS: use etcds://"),
        ("etcds://h/p?cert=/c", "/p?cert=/c': cert and key (ETCDCTL_CERT and ETCDCTL_KEY) must be set together"),
    ],
)  # fmt: skip
def test_invalid_url_is_shown_without_its_login(url, words):
    (found,) = problems_of_call(parse_url, url, {})
    assert words in found
    assert found.startswith("overlay_ledger is ")
    assert found.endswith(("TLS: use etcds://", "set together", "ETCDCTL_USER", "brackets"))


def test_reports_all_mistakes_of_a_url_at_once():
    assert len(problems_of_call(parse_url, "etcd://me@h?x=1", {})) == 3
    assert problems_of_call(parse_url, "etcd://h/pX/?x", {})[0].startswith("overlay_ledger is 'etcd://h/pX/?x': ")
    assert parse_url("etcd://h/pX/", {}).prefix == "pX"


def test_hides_the_login_of_hosts_only():
    (found,) = problems_of_call(parse_url, "etcd://h/a@b/c?x=1", {})
    assert found.startswith("overlay_ledger is 'etcd://h/a@b/c?x=1': ")
    assert not any("secret" in text for text in problems_of_call(parse_url, "etcd://me:secret@h/p?key=a://b", {}))
    (found,) = problems_of_call(open_store, "etcd://h/p?user=me&password_file=/none://here")
    assert "No such file or directory" in found


def test_reads_the_password_as_utf8_in_any_locale(tmp_path):
    (tmp_path / "password").write_bytes("pässwörd\n".encode())
    program = (
        "import locale, sys; from "
        f"{parse_url.__module__} import parse_url; "
        "place = parse_url(sys.argv[1], {}); print(locale.getpreferredencoding(False), ascii(place.access.password))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, f"etcds://h/p?user=me&password_file={tmp_path}/password"],
        env={
            "LC_ALL": "C",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONUTF8": "0",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        text=True,
        check=True,
    )
    encoding, password = found.stdout.split()
    assert encoding != "UTF-8"
    assert password == ascii("pässwörd")


def test_error_repeats_the_url_without_the_password():
    with pytest.raises(ValidationError) as caught:
        parse_url("etcd://carol:a@b:s3cret@one:2379,two/demo", {})
    (problem,) = caught.value.problems
    assert problem.startswith("overlay_ledger is 'etcd://...@one:2379,two/demo': a user is not allowed there")
    with pytest.raises(ValidationError) as caught:
        parse_url("etcd://one:0/team/demo?user=x://y", {})
    endpoint, login = caught.value.problems
    assert endpoint.startswith("overlay_ledger is 'etcd://one:0/team/demo?user=x://y': the endpoint 'one:0' is invalid")
    assert login.startswith("overlay_ledger is 'etcd://one:0/team/demo?user=x://y': user x://y has no password")


def test_names_every_unknown_query_parameter():
    with pytest.raises(
        ValidationError, match=r"after '[?]' only cacert, cert, key, user, password_file are allowed, not ca, pw$"
    ):
        parse_url("etcds://one/demo?pw=1&ca=", {})
