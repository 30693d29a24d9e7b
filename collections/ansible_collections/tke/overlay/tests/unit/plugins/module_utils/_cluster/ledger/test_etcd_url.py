# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import etcd as store_etcd
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_url import EtcdAccess, parse_url
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
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
def test_a_place_has_end_points_and_a_prefix(url, endpoints, prefix):
    place = parse_url(url, {})
    assert [str(endpoint) for endpoint in place.endpoints] == endpoints
    assert place.prefix == prefix
    assert place.where == f"{url.partition(':')[0]}://{','.join(endpoints)}/{prefix}"
    assert place.access == EtcdAccess(tls=url.startswith("etcds"))


def test_the_environment_of_etcdctl_is_taken_and_the_url_goes_before_it(tmp_path):
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
        ("etcd://", ["the end point '' is none", "lacks the prefix"]),
        ("etcd://a:2379", ["lacks the prefix"]),
        ("etcd://a:2379/", ["lacks the prefix"]),
        ("etcd:///demo", ["the end point '' is none"]),
        ("etcd://a:x,,b:99999/demo", ["'a:x' is none", "'' is none", "'b:99999' is none"]),
        ("etcd://2001:db8::1/demo", ["'2001:db8::1' is none"]),
        ("etcd://a:0/demo", ["'a:0' is none"]),
        ("etcds://a/demo?ca=/x&cert=/y", ["and not ca"]),
        ("etcds://a/demo?cert=/y", ["cert and key", "go together"]),
        ("etcd://a/demo?cacert=/x", ["write etcds://"]),
        ("etcd://a/demo?nonsense", ["demo?nonsense"]),
        ("etcd://a/demo?user=carol", ["user carol has no password"]),
        ("etcd://a/demo?password_file=/nowhere/secret", ["/nowhere/secret"]),
        ("consul://a/demo", ["a ledger is kept in a file", "or in etcd"]),
    ],
)
def test_every_mistake_in_a_place_is_named(url, words):
    with pytest.raises(ValidationError) as caught:
        open_store(url)
    for word in words:
        assert word in str(caught.value)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ValidationError, match="a user does not belong there") as caught:
        parse_url("etcd://carol:s3cret@a:2379,b/demo", {})
    assert "s3cret" not in str(caught.value)


def test_without_its_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(store_etcd, "HAS_ETCD3GW", False)
    with pytest.raises(ValidationError, match="-m pip install etcd3gw"):
        open_store("etcd://a:2379/demo")
