# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Start the stand-in of the API server, and prepare its objects and users."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import yaml

Json = dict[str, Any]

HERE = pathlib.Path(__file__).parent
LAB = HERE.parent / "lab" / "lab"
SERVICE_NAME = "kubernetes.io/service-name"

CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

PATHS = {
    "nodes": "/api/v1/nodes",
    "configmaps": "/api/v1/namespaces/{namespace}/configmaps",
    "endpoints": "/api/v1/namespaces/{namespace}/endpoints",
    "services": "/api/v1/namespaces/{namespace}/services",
    "endpointslices": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
}


class Rejected(Exception):
    """The server answered with a Status object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def make_certificates(directory: pathlib.Path, address: str) -> None:
    """Write the certificates of a CA, of a server at this address, and of an administrator."""
    (directory / "openssl.cnf").write_text(CONFIG)
    make_certificate(directory, "ca", "/CN=kubernetes")
    make_certificate(directory, "server", "/CN=kube-apiserver", f"IP:{address},DNS:kubernetes.default")
    make_certificate(directory, "admin", "/O=system:masters/CN=kubernetes-admin")


def make_certificate(directory: pathlib.Path, name: str, subject: str, names: str = "") -> None:
    """Write NAME.crt and NAME.key. It is a CA if its name begins so; another one is signed by ``ca``."""
    is_ca = name.startswith("ca")
    signed = [] if is_ca else ["-CA", f"{directory}/ca.crt", "-CAkey", f"{directory}/ca.key"]
    extensions = ["-addext", f"subjectAltName={names}"] if names else []
    command = (
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-config", f"{directory}/openssl.cnf", "-extensions", "ca" if is_ca else "leaf"),
        *("-subj", subject, "-days", "2", *signed, *extensions),
        *("-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt"),
    )
    subprocess.run(command, check=True, capture_output=True)


class ApiServer:
    """The process of a stand-in, with its CA, an administrator, and ``kubeconfig`` files for others."""

    def __init__(
        self, directory: pathlib.Path, address: str = "127.0.0.1", port: int = 0, known: pathlib.Path | None = None
    ) -> None:
        """Start it. ``known`` is the directory of an earlier one of this address, whose certificates it takes."""
        self.directory, self.address = directory, address
        if known is None:
            make_certificates(directory, address)
        else:
            for file in [*known.glob("*.crt"), *known.glob("*.key"), known / "openssl.cnf"]:
                shutil.copy(file, directory)
        (directory / "tokens.json").write_text(json.dumps({"overlay-token": ["tke-overlay", ["system:authenticated"]]}))
        program = [sys.executable, str(HERE / "standin_server.py"), "--directory", str(directory)]
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                # It ends with the tests, also when these are killed.
                ["setpriv", "--pdeathsig", "KILL", *program, "--address", address, "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 20
        while not (directory / "port").exists():
            assert self.process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < end, "the stand-in did not start within 20 s"
            time.sleep(0.02)
        self.port = int((directory / "port").read_text())
        self.url = f"https://{address}:{self.port}"
        self._context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        self._context.load_cert_chain(directory / "admin.crt", directory / "admin.key")
        self.kubeconfig = self.make_kubeconfig("admin", self.user_of_certificate("admin"))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    # --- users ------------------------------------------------------------------------------------

    def make_certificate(self, name: str, subject: str, names: str = "") -> None:
        """Write NAME.crt and NAME.key; the certificate is signed by the CA."""
        make_certificate(self.directory, name, subject, names)

    def user_of_certificate(self, name: str) -> Json:
        """Return the user of a kubeconfig."""
        files = {"client-certificate-data": "crt", "client-key-data": "key"}
        return {field: self._base64(f"{name}.{suffix}") for field, suffix in files.items()}

    def make_kubeconfig(self, name: str, user: Json, server: str = "", ca: str = "ca.crt") -> str:
        """Write a kubeconfig, and return its path."""
        cluster = {"server": server or self.url, "certificate-authority-data": self._base64(ca)}
        context = {"cluster": "kubernetes", "user": name}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kubernetes", "cluster": cluster}],
            "contexts": [{"name": f"{name}@kubernetes", "context": context}],
            "current-context": f"{name}@kubernetes",
            "users": [{"name": name, "user": user}],
        }
        path = self.directory / f"{name}.conf"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    def _base64(self, file: str) -> str:
        return base64.b64encode((self.directory / file).read_bytes()).decode()

    # --- objects ----------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Json:
        """Send a request of the administrator.

        :raises Rejected: the answer is no success.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": content_type}, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context)
        )
        try:
            with opener.open(request, timeout=10) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                raise Rejected(error.code, json.load(error)["message"]) from None

    def control(self, what: str, **body: Any) -> None:
        """Change how the stand-in behaves; see standin_server.py."""
        self.request("POST", f"/standin/{what}", body)

    def requests(self, user: str = "") -> list[tuple[str, ...]]:
        """Return the requests so far, as verb, resource, namespace and name."""
        found = self.request("GET", "/standin/requests")["requests"]
        return [tuple(each[1:]) for each in found if user in ("", each[0])]

    def create(self, plural: str, body: Json, namespace: str = "default") -> None:
        self.request("POST", PATHS[plural].format(namespace=namespace), body)

    def get(self, plural: str, name: str, namespace: str = "default") -> Json:
        return self.request("GET", f"{PATHS[plural].format(namespace=namespace)}/{name}")

    def add_node(self, name: str, internal_ip: str = "", pod_cidrs: Sequence[str] = (), unavailable: str = "") -> None:
        """Create a Node object, as kubelet and the other programs of a cluster do."""
        status: Json = {"addresses": [{"type": "Hostname", "address": name}]}
        if internal_ip:
            status["addresses"].append({"type": "InternalIP", "address": internal_ip})
        status["conditions"] = [{"type": "Ready", "status": "False", "reason": "KubeletNotReady"}]
        if unavailable:
            condition = {"type": "NetworkUnavailable", "status": unavailable, "reason": "NoRouteCreated"}
            status["conditions"].append(condition)
        spec = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {}
        self.create("nodes", {"metadata": {"name": name}, "spec": spec, "status": status})

    def add_config_map(self, namespace: str, name: str, data: dict[str, str]) -> None:
        self.create("configmaps", {"metadata": {"name": name}, "data": data}, namespace)

    def kubectl(self, *arguments: str) -> str:
        """Return the output of Debian's kubectl, that of the lab's hosts, run by the administrator."""
        tree = subprocess.run(
            [sys.executable, str(LAB), "tree", "bookworm"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()
        command = [
            f"{tree}/usr/bin/kubectl",
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.directory}/cache",
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def main() -> None:
    """Serve until the directory of the first argument is removed; the others are Node objects, NAME or NAME=CIDR."""
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir()
    server = ApiServer(directory)
    try:
        for word in sys.argv[2:]:
            name, _equals, pod_cidr = word.partition("=")
            server.add_node(name, pod_cidrs=[pod_cidr] if pod_cidr else [])
        (directory / "ready").touch()
        while directory.exists():
            time.sleep(0.2)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
