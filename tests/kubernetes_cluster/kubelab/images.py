# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Container images for the test, made from a base tree of the lab and the programs, without a registry."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

REPOSITORY = "lab.internal"
ETCD = "etcd:3.5.16-0"  # the etcd of Debian 13
ETCD_SCRIPT = Path(__file__).parents[1] / "files/etcd.sh"
AGENT = Path(__file__).parents[1] / "files/agent.py"
# What the images of Pods and of kube-proxy need, as paths in a base tree.
_PROGRAMS = (
    "usr/bin/python3", "usr/bin/dash", "usr/bin/sh", "usr/bin/sleep", "usr/bin/cat", "usr/sbin/ip", "usr/bin/ip",
    "usr/sbin/nft", "usr/sbin/conntrack", "usr/sbin/xtables-nft-multi",
)  # fmt: skip
_TABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_OMITTED = ("__pycache__", "test", "idlelib", "lib2to3", "pydoc_data", "tkinter", "dist-packages")


def common_layer(tree: Path, target: Path) -> None:
    """Write the layer of all images: Python, a shell, ip, nft, iptables and what they load."""
    files = {path for name in _PROGRAMS for path in _chain(tree, tree / name)}
    library = next(tree.glob("usr/lib/python3.*"))
    files |= {path for path in library.rglob("*") if not set(path.parts) & set(_OMITTED) and not path.is_dir()}
    files |= set((tree / "usr/lib/x86_64-linux-gnu/xtables").glob("*.so"))
    files |= {path for name in _libraries(tree, files) for path in _chain(tree, tree / name)}
    with tarfile.open(target, "w") as layer:
        for name, to in _LINKS.items():
            _link(layer, name, to)
        for name in _TABLES:
            _link(layer, f"usr/sbin/{name}", "xtables-nft-multi")
        for name in ("tmp", "run", "etc", "proc", "sys", "dev", "var"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(directory)
        for path in sorted(files):
            layer.add(path, str(path.relative_to(tree)), recursive=False, filter=_plain)
        layer.add(AGENT, "agent.py", filter=_plain)


def _chain(tree: Path, path: Path) -> list[Path]:
    """Return a file with the symbolic links that lead to it; empty if it does not exist."""
    found = []
    while path.is_symlink():
        found.append(path)
        to = path.readlink()
        path = (tree / str(to)[1:] if to.is_absolute() else path.parent / to).resolve()
    return [*found, path] if path.exists() else []


def _libraries(tree: Path, files: set[Path]) -> set[str]:
    """Return the shared libraries of programs and modules, as paths in the tree without links of directories."""
    binaries = [f"/{p.relative_to(tree)}" for p in files if not p.is_symlink() and p.open("rb").read(4) == b"\x7fELF"]
    listing = subprocess.run(
        ["chroot", str(tree), "ldd", *binaries], capture_output=True, text=True, check=False
    ).stdout  # fmt: skip
    words = {word for line in listing.splitlines() for word in line.split() if word.startswith("/") and ":" not in word}
    return {"usr" + word if word.startswith("/lib") else word[1:] for word in words}


def _link(layer: tarfile.TarFile, name: str, to: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, to
    layer.addfile(entry)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


def program_layer(program: Path, target: Path) -> None:
    """Write a layer with one program in /usr/local/bin."""
    with tarfile.open(target, "w") as layer:
        layer.add(program, f"usr/local/bin/{program.name}", filter=_plain)


def etcd_layer(program: Path, target: Path) -> None:
    """Write a layer with etcd, and the script that translates kubeadm's flags for it."""
    with tarfile.open(target, "w") as layer:
        layer.add(program, "usr/local/lib/etcd", filter=_plain)
        layer.add(ETCD_SCRIPT, "usr/local/bin/etcd", filter=_plain)


class Archive:
    """An OCI archive of several images, whose common layers it contains once."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._manifests: list[dict[str, Any]] = []
        self._blobs: dict[str, Path | bytes] = {}

    def image(self, name: str, layers: list[Path], command: list[str]) -> None:
        """Add an image: its name with the tag, its layers and what it executes."""
        entries = [self._blob(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers]
        config = {
            "architecture": "amd64", "os": "linux",
            "config": {"Entrypoint": command, "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [entry["digest"] for entry in entries]},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self._blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": entries,
        }
        entry = self._blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
        annotations = {"io.containerd.image.name": f"{REPOSITORY}/{name}", "org.opencontainers.image.ref.name": name}
        self._manifests.append({**entry, "annotations": annotations})

    def _blob(self, content: Path | bytes, media: str) -> dict[str, Any]:
        if isinstance(content, Path):
            with content.open("rb") as source:
                digest, size = hashlib.file_digest(source, "sha256").hexdigest(), content.stat().st_size
        else:
            digest, size = hashlib.sha256(content).hexdigest(), len(content)
        self._blobs[digest] = content
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}

    def write(self) -> None:
        """Write the archive."""
        index = {"schemaVersion": 2, "manifests": self._manifests}
        with tarfile.open(self.target, "w") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            _add(archive, "index.json", json.dumps(index).encode())
            for digest, content in self._blobs.items():
                if isinstance(content, Path):
                    archive.add(content, f"blobs/sha256/{digest}", filter=_plain)
                else:
                    _add(archive, f"blobs/sha256/{digest}", content)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def tag_of_coredns(programs: Path, version: str) -> str:
    """Return the version of CoreDNS that kubeadm installs."""
    command = [str(programs / "kubeadm"), "config", "images", "list", "--kubernetes-version", version]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return next(name.rpartition(":")[2] for name in listed if "/coredns:" in name)


def make(programs: Path, trees: tuple[Path, Path], target: Path, version: str) -> tuple[Path, Path]:
    """Write the archive for every node and that for control planes, and return both paths.

    :param trees: the base tree of the images, and that with etcd.
    """
    tree, tree_of_etcd = trees
    target.mkdir(parents=True, exist_ok=True)
    common = target / "common.tar"
    common_layer(tree, common)
    node, control = Archive(target / "node.oci.tar"), Archive(target / "control.oci.tar")
    node.image("pause:1", [common], ["/usr/bin/sleep", "infinity"])
    node.image("agent:1", [common], ["/usr/bin/python3", "/agent.py"])
    layer = target / "etcd.tar"
    etcd_layer(tree_of_etcd / "usr/bin/etcd", layer)
    control.image(ETCD, [common, layer], [])
    for name, archive, below in (
        ("kube-proxy", node, [common]),
        ("coredns", node, []),
        ("kube-apiserver", control, []),
        ("kube-controller-manager", control, []),
        ("kube-scheduler", control, []),
    ):
        layer = target / f"{name}.tar"
        program_layer(programs / name, layer)
        tag = tag_of_coredns(programs, version) if name == "coredns" else version
        archive.image(f"{name}:{tag}", [*below, layer], [f"/usr/local/bin/{name}"])
    for archive in (node, control):
        archive.write()
    for layer in target.glob("*.tar"):
        if not layer.name.endswith(".oci.tar"):
            layer.unlink()
    return node.target, control.target
