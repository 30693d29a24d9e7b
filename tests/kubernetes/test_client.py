# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Errors of the connection, of certificates and of credentials: one sentence each, with the server."""

from __future__ import annotations

import http.server
import json
import pathlib
import subprocess
import sys
import threading

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes import client
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import ApiError, connect

COLLECTIONS = pathlib.Path(__file__).parents[2] / "collections"
TOKEN = {"token": "overlay-token"}


def error_of(kubeconfig, context=None):
    with pytest.raises(ApiError) as refused:
        connect(kubeconfig, context).nodes()
    (text,) = refused.value.problems
    assert "\n" not in text
    return text


def test_a_missing_client_is_named_with_its_installation(monkeypatch):
    monkeypatch.setattr(client, "HAS_KUBERNETES", False)
    text = error_of("/admin.conf")
    for part in ("overlay_kubeconfig", "no kubernetes", "-m pip install kubernetes"):
        assert part in text


def test_a_run_without_a_kubeconfig_does_not_import_the_client():
    """Its import would take longer than the plan, and every process of Ansible would be larger."""
    modules = "import sys; import ansible_collections.tke.overlay.plugins.action.{}; print('kubernetes' in sys.modules)"
    for action in ("plan", "kubernetes"):
        command = [sys.executable, "-c", modules.format(action)]
        done = subprocess.run(command, cwd=COLLECTIONS, capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


@pytest.mark.parametrize("content", [None, "[", "- a", "", "clusters: 1", "current-context: x\ncontexts: []\n"])
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "admin.conf"
    if content is not None:
        path.write_text(content)
    text = error_of(str(path))
    assert "overlay_kubeconfig" in text
    assert str(path) in text


def test_an_unknown_context_is_named_with_the_known_ones(api_server):
    text = error_of(api_server.kubeconfig, "other")
    for part in ("overlay_kubeconfig_context 'other'", "admin@kubernetes"):
        assert part in text


def test_a_context_selects_user_and_server(api_server):
    api_server.add_node("a")
    assert [node.name for node in connect(api_server.kubeconfig, "admin@kubernetes").nodes()] == ["a"]


def test_a_server_that_does_not_answer_is_named(api_server):
    kubeconfig = api_server.make_kubeconfig("other", TOKEN, server="https://127.0.0.1:1")
    text = error_of(kubeconfig)
    for part in ("https://127.0.0.1:1", kubeconfig, "cannot be reached", "Connection refused"):
        assert part in text
    assert "object at" not in text


def test_a_name_without_an_address_is_named(api_server):
    text = error_of(api_server.make_kubeconfig("other", TOKEN, server="https://nowhere.invalid:6443"))
    assert "https://nowhere.invalid:6443" in text
    assert "cannot be reached" in text


def test_a_certificate_of_another_ca_is_explained(api_server):
    api_server.make_certificate("ca2", "/CN=other")
    text = error_of(api_server.make_kubeconfig("other", TOKEN, ca="ca2.crt"))
    for part in (api_server.url, "CA", "certificate-authority"):
        assert part in text


def test_a_certificate_for_other_names_is_explained(api_server):
    server = api_server.url.replace("127.0.0.1", "127.0.0.2")
    text = error_of(api_server.make_kubeconfig("other", TOKEN, server=server))
    assert "127.0.0.2" in text


@pytest.mark.parametrize("token", ["wrong", "overlay-token"])
def test_refused_credentials_are_told_apart(api_server, token):
    text = error_of(api_server.make_kubeconfig("other", {"token": token}))
    assert api_server.url in text
    if token == "wrong":
        assert "401" in text
        assert "list nodes" in text
    else:
        for part in ("list nodes", 'User "tke-overlay" cannot list resource "nodes"', "rbac.yml"):
            assert part in text


def error_of_answer(api_server, user, code, body):
    """Return the error of a kubeconfig whose server answers each request in the same way, and its address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        text = error_of(api_server.make_kubeconfig("other", user, server=address))
        server.shutdown()
    return text, address


def test_what_is_no_api_server_is_named(api_server):
    text, address = error_of_answer(api_server, TOKEN, 200, b"<html>")
    assert address in text
    assert "does not answer as an API server" in text


@pytest.mark.parametrize(
    "user", [{}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nonexistent/login"}}]
)
def test_a_request_without_credentials_gets_no_roles(api_server, user):
    message = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"'
    text, address = error_of_answer(api_server, user, 403, json.dumps({"message": message}).encode())
    for part in (address, "no credentials", "exec plugin", "overlay_kubeconfig", "list nodes"):
        assert part in text
    assert "rbac.yml" not in text


def test_a_kubeconfig_in_the_home_directory_is_found(api_server, monkeypatch):
    path = pathlib.Path(api_server.kubeconfig)
    monkeypatch.setenv("HOME", str(path.parent))
    assert connect(f"~/{path.name}").nodes() == []
