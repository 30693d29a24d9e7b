# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The part of section `peers` that runs on the host under test. It measures times and prints JSON.

The directory in the first argument contains node.py and empty.py, the files that Ansible runs; link.batch,
neighbor.batch, fdb.batch, route.batch and rules.nft, the same entries for ip, bridge and nft; tke0.netdev and
tke0.network, the entries of fewer peers for systemd-networkd; and setting.json. The second argument is first `note`,
then `measure`, and finally, also after a failure, `restore`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[1])
SETTING = json.loads((HERE / "setting.json").read_text())
DEVICE, NODE_CIDR, PEERS = SETTING["device"], SETTING["node_cidr"], SETTING["peers"]
ENTRIES: dict[str, int] = SETTING["entries"]  # of each table
WIREGUARD: str = SETTING["wireguard"]  # its device; empty: all peers are on VXLAN
ENTRIES_EACH = 100  # of each table, for the measurement with one process per entry
METRICS_PAIRS = 6
NETWORKD_PEERS = SETTING["networkd_peers"]
NETWORKD = ("systemd-networkd.service", "systemd-networkd.socket")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
NOTE = Path(f"{HERE}.ip_forward")
STATE = "/etc/tke-overlay"
UNITS = ("tke-overlay-probe.timer", "tke-overlay.timer", "tke-overlay.service")
STOP = ("systemctl", "stop", "tke-overlay*.timer", "tke-overlay.service")  # only with metrics there are two timers
FILES = (
    "/etc/cni/net.d/10-tke-overlay.conflist",
    "/etc/sysctl.d/99-tke-overlay.conf",
    "/etc/modules-load.d/tke-overlay.conf",
    "/etc/systemd/network/00-tke-overlay.link",
    "/etc/systemd/network/00-tke-overlay.network",
    "/etc/systemd/networkd.conf.d/10-tke-overlay.conf",
    "/etc/NetworkManager/conf.d/10-tke-overlay.conf",
    *(f"/etc/systemd/system/{unit}" for unit in UNITS),
    *(f"{STATE}/{name}.batch" for name in ("link", "neighbor", "fdb", "route")),
    *(f"{STATE}/{name}" for name in ("summary", "settings", "rules.nft", "sysctl", "restore", "wireguard")),
    *(f"{STATE}/{name}" for name in ("checksums", "fleet", "metrics", "metrics.sh", "probe.py", "probe.peers")),
    "/etc/systemd/system/tke-overlay-wireguard@.service",
    "/etc/systemd/system/tke-overlay-probe.service",
)
# A change of ip_forward sets the others of that name.
SYSCTLS = {
    "net.ipv4.ip_forward",
    *(
        f"net/ipv4/conf/{name}/{key}"
        for name in (DEVICE, "eth0", "tke-wg0", "tke-wg1")
        for key in ("rp_filter", "forwarding")
    ),
}
RECORDS = ("/run/tke-overlay/rules.nft", "/run/tke-overlay/rules.listing")
COMPILED = "/run/tke-overlay/compiled"  # a first run has none
TABLE = ("inet", "tke_overlay")
MODULE = ("/usr/bin/python3", str(HERE / "node.py"))
WITH_METRICS = ("/usr/bin/python3", str(HERE / "metrics.py"))
PROBE_CODE = "import probe; probe.main()"
PROBE = (
    *("/bin/sh", "-c"),
    f"cd {STATE} && exec /usr/bin/python3 -s -E -S -X pycache_prefix=/run/tke-overlay/probe.cache -c '{PROBE_CODE}'",
)
"""What the probe timer runs."""
PENDING = "/run/tke-overlay/pending"
CONFIRM = ("/bin/sh", "-c", f"exec /bin/sh {PENDING}/confirm $(cat {PENDING}/token)")
"""What the controller runs on the host after a change: it confirms the commit, which saves the change."""
EMPTY = ("/usr/bin/python3", str(HERE / "empty.py"))
BARE_WIREGUARD = (
    ("wireguard-go", WIREGUARD),
    ("wg", "setconf", WIREGUARD, str(HERE / "wireguard.conf")),
    ("ip", "-batch", str(HERE / "wireguard.batch")),
)
BATCHES = (
    ("ip", "-batch", str(HERE / "link.batch")),
    *(BARE_WIREGUARD if WIREGUARD else ()),
    ("ip", "-batch", str(HERE / "neighbor.batch")),
    ("bridge", "-batch", str(HERE / "fdb.batch")),
    ("ip", "-batch", str(HERE / "route.batch")),
    ("nft", "-f", str(HERE / "rules.nft")),
)
SCRIPT = ("/bin/sh", f"{STATE}/restore")
READINGS = (
    ("ip", "-json", "-details", "address", "show"),
    ("ip", "-4", "-json", "route", "show", "table", "main"),
    ("bridge", "-json", "fdb", "show", "dev", DEVICE),
    ("ip", "-4", "-json", "neigh", "show", "dev", DEVICE),
    ("nft", "-s", "list", "table", *TABLE),
    *([("wg", "show", "all", "dump")] if WIREGUARD else []),
)


def timed(*commands: tuple[str, ...]) -> tuple[float, float]:
    """Run commands one after the other; return the seconds for all, and the peak memory of the largest in MB.

    Their output goes to a file, because they could wait for the reader of a pipe. The peak of a process starts with
    that of its parent, so this process must use less memory than the commands.
    """
    kibibytes = 0
    with open(HERE / "printed", "wb") as printed:
        start = time.monotonic()
        for command in commands:
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed) as process:
                _pid, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"{' '.join(command)} ended with {process.returncode}: {text_of_printed()[-2000:]}")
            kibibytes = max(kibibytes, usage.ru_maxrss)
        seconds = time.monotonic() - start
    return seconds, kibibytes * 1024 / 1e6


def text_of_printed() -> str:
    """Return the output of the last timed commands."""
    return (HERE / "printed").read_text()


def module(changed: bool) -> tuple[float, float]:
    """Return time and memory of a call of the module and, after a change, of its confirmation; check its result."""
    figures = timed(MODULE, *([CONFIRM] if changed else []))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    if figures[1] <= own:
        sys.exit(f"the memory of the module cannot be measured, because this script itself uses {own:.0f} MB")
    result = json.loads(text_of_printed())
    changes = result["changes"]
    added = {table: result["counts"].get(table, 0) for table in ENTRIES}
    wanted = ENTRIES if changed else dict.fromkeys(added, 0)
    if result["changed"] is not changed or added != wanted:
        sys.exit(f"the module reports changed={result['changed']} and added {added}, not {changed} and {wanted}")
    # Everything must be removed again, or the next round starts from another state.
    unknown = {*changes["files"], *changes["sysctls"], *changes["units"]} - {*FILES, *SYSCTLS, *UNITS}
    if unknown:
        sys.exit(
            f"the module has also changed {', '.join(sorted(unknown))}, which this benchmark does not restore: add them"
        )
    return figures


def entries() -> None:
    """Print a digest of the managed entries, after a check that all of them are there."""
    tables = managed()
    found = dict(zip(("route", "fdb", "neighbor"), map(len, tables), strict=True))
    if found != ENTRIES:
        sys.exit(f"found {found}, expected {ENTRIES}")
    lines = [sorted(json.dumps(row, sort_keys=True) for row in rows) for rows in tables]
    print(hashlib.sha256(json.dumps(lines).encode()).hexdigest())


def managed() -> list[list[dict[str, Any]]]:
    """Return the managed routes, FDB entries and neighbours; none without the device."""
    listings = [subprocess.run(command, capture_output=True, check=False).stdout for command in READINGS[1:4]]
    routes, fdb, neighbors = (json.loads(listing or b"[]") for listing in listings)
    return [
        [row for row in routes if str(row.get("protocol")) in ("144", "tke")],
        [row for row in fdb if "dst" in row],
        [row for row in neighbors if "PERMANENT" in row["state"]],
    ]


def digest() -> str:
    """Return the output of :func:`entries` from another process, so that this one uses little memory."""
    done = subprocess.run([sys.executable, *sys.argv[:2], "entries"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def empty_kernel() -> None:
    """Remove the managed kernel state, as after a boot."""
    words = (
        ("ip link del", DEVICE),
        ("ip route flush table main proto", "144"),
        ("nft delete table", " ".join(TABLE)),
        *([("systemctl stop", f"tke-overlay-wireguard@{WIREGUARD}"), ("ip link del", WIREGUARD)] if WIREGUARD else []),
    )
    for command in words:
        subprocess.run(" ".join(command).split(), capture_output=True, check=False)  # they may not exist


def clean() -> None:
    """Restore the state before the first run."""
    subprocess.run(
        ["systemctl", "stop", "tke-overlay-rollback.timer"], capture_output=True, check=False
    )  # may not exist
    shutil.rmtree(PENDING, ignore_errors=True)
    subprocess.run(["systemctl", "disable", "--now", *UNITS], capture_output=True, check=False)
    empty_kernel()
    for path in (*FILES, *RECORDS, COMPILED):
        with suppress(FileNotFoundError):
            os.unlink(path)
    with suppress(OSError):
        os.rmdir(STATE)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    FORWARDING.write_text(json.loads(NOTE.read_text())["forwarding"])
    left = json.loads(subprocess.check_output(["ip", "-json", "route", "show", "proto", "144"]) or "[]")
    if left:
        sys.exit(f"there are foreign routes of protocol 144: {left[:3]}")


def one_round() -> dict[str, float]:
    """Measure each figure once, in turns, so that all figures of a round see the same load of the machine."""
    clean()
    fresh, fresh_memory = module(changed=True)
    of_module = digest()
    if WIREGUARD:
        bare_batches()
    unchanged, unchanged_memory = module(changed=False)
    subprocess.run(STOP, check=True)  # the timer would disturb the measurements
    reading, _memory = timed(*READINGS)
    period, _memory = timed(SCRIPT)
    empty_kernel()
    for path in RECORDS:
        os.unlink(path)
    boot, _memory = timed(SCRIPT)
    if digest() != of_module:
        sys.exit("the restore script did not create the same entries as the module")
    empty, empty_memory = timed(EMPTY)
    without_metrics, with_metrics, probe_cpu = metrics()
    clean()
    batches, _memory = timed(*BATCHES)
    if digest() != of_module:
        sys.exit("the batches did not create the same entries as the module")
    return {
        "fresh": fresh,
        "fresh_memory": fresh_memory,
        "unchanged": unchanged,
        "unchanged_memory": unchanged_memory,
        "reading": reading,
        "empty": empty,
        "empty_memory": empty_memory,
        "batches": batches,
        "period": period,
        "without_metrics": without_metrics,
        "with_metrics": with_metrics,
        "probe_cpu": probe_cpu,
        "boot": boot,
    }


def bare_batches() -> None:
    """Write the batches for entries of several transports: those of the saved state, and the device of WireGuard."""
    for name in ("link.batch", "neighbor.batch", "fdb.batch", "route.batch", "rules.nft"):
        shutil.copy(f"{STATE}/{name}", HERE / name)
    device, *peers = Path(STATE, "wireguard").read_text().splitlines()
    words = device.split()
    known = dict(zip(words[1::2], words[2::2], strict=True))
    key = Path(STATE, f"wireguard-{known['generation']}.key").read_text().strip()
    conf = [f"[Interface]\nPrivateKey = {key}\nListenPort = {known['listen-port']}"]
    for peer in peers:
        _device, _peer, public, _ips, allowed, _endpoint, endpoint = peer.split()
        conf.append(f"[Peer]\nPublicKey = {public}\nAllowedIPs = {allowed}\nEndpoint = {endpoint}")
    (HERE / "wireguard.conf").write_text("\n".join(conf) + "\n")
    (HERE / "wireguard.batch").write_text(f"link set {WIREGUARD} mtu {known['mtu']} up\n")


def metrics() -> tuple[float, float, float]:
    """Return the seconds of the restore script without and with metrics, and those of a CPU in a round of probes.

    The script takes a tenth of a second, and its time varies by more than what the metrics cost: so it runs several
    times with and without them in turns. The first run of each makes what later runs have: records, and the compiled
    program.
    """
    (HERE / "metrics").mkdir(exist_ok=True)
    timed(WITH_METRICS)
    subprocess.run(STOP, check=True)
    timed(SCRIPT)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * METRICS_PAIRS):
        on = number % 4 in (0, 3)  # no turn is always the first of its pair
        with settings_of_metrics(on):
            seconds[on].append(timed(SCRIPT)[0])
    without, with_metrics = statistics.median(seconds[False]), statistics.median(seconds[True])
    timed(PROBE)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    timed(PROBE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return without, with_metrics, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def settings_of_metrics(on: bool) -> Iterator[None]:
    """Let the saved settings name the directory of the metrics, as written by the module, or name none."""
    settings, checksums = Path(STATE, "settings"), Path(STATE, "checksums")
    written = settings.read_text(), checksums.read_text()
    changed = re.sub(r"^metrics_dir=.*$", "metrics_dir=''", written[0], flags=re.MULTILINE)
    if changed == written[0]:
        sys.exit(f"{settings} names no directory of metrics")
    if not on:
        before, after = (hashlib.sha256(text.encode()).hexdigest() for text in (written[0], changed))
        settings.write_text(changed)
        checksums.write_text(written[1].replace(before, after))
    try:
        yield
    finally:
        settings.write_text(written[0])
        checksums.write_text(written[1])


def process_per_entry() -> tuple[int, float]:
    """Measure a shell script with one process per entry; return the number of entries, and the seconds per entry."""
    clean()
    timed(BATCHES[0])
    lines = []
    for program, table in (("ip", "neighbor"), ("bridge", "fdb"), ("ip", "route")):
        with open(HERE / f"{table}.batch", encoding="ascii") as batch:
            lines += [f"{program} {line}" for line in itertools.islice(batch, ENTRIES_EACH)]
    (HERE / "entries.sh").write_text("set -e\n" + "".join(lines))
    seconds, _memory = timed(("/bin/sh", str(HERE / "entries.sh")))
    return len(lines), seconds / len(lines)


def networkd() -> tuple[float, float]:
    """Return the seconds of systemd-networkd from its start until all entries exist, and of batches with as many."""
    clean()
    few = HERE / "few"
    few.mkdir(exist_ok=True)
    for _program, _option, file in BATCHES[1:4]:
        name = Path(file).name
        with open(file, encoding="ascii") as batch:
            (few / name).write_text("".join(itertools.islice(batch, NETWORKD_PEERS)))
    batches, _memory = timed(
        BATCHES[0], *((program, option, str(few / Path(file).name)) for program, option, file in BATCHES[1:4])
    )
    clean()
    directory = Path("/run/systemd/network")
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("tke0.netdev", "tke0.network"):
        shutil.copy(HERE / name, directory / name)
    try:
        start = time.monotonic()
        subprocess.run(["systemctl", "start", NETWORKD[0]], check=True)
        while [len(rows) for rows in managed()] != [NETWORKD_PEERS] * 3:
            if time.monotonic() - start > 60:
                sys.exit("systemd-networkd has not created all entries within 60 s")
            time.sleep(0.02)
        seconds = time.monotonic() - start
    finally:
        subprocess.run(["systemctl", "stop", *NETWORKD], capture_output=True, check=True)
        for name in ("tke0.netdev", "tke0.network"):
            (directory / name).unlink()
        clean()
    return seconds, batches


def note() -> None:
    """Record the state of the host before the first change.

    The record is outside of the directory, and a record that a killed run has left is kept.
    """
    if NOTE.exists():
        return
    there = [path for path in (f"/sys/class/net/{DEVICE}", *FILES) if os.path.exists(path)]
    if there:
        sys.exit(f"this host already has {', '.join(there)}, which the benchmark would remove")
    absent = [path for path in ("/etc/cni/net.d", "/etc/cni") if not os.path.exists(path)]
    NOTE.write_text(json.dumps({"forwarding": FORWARDING.read_text(), "absent": absent}))


def measure() -> None:
    """Run all rounds and print the figures. Record the process group, so that :func:`restore` can kill it."""
    (HERE / "group").write_text(str(os.getpgrp()))
    rounds = [one_round() for _number in range(SETTING["rounds"])]
    if WIREGUARD:  # the other measurements are those of VXLAN alone
        print(json.dumps({"rounds": rounds}))
        return
    timed_entries, per_entry = process_per_entry()
    by_networkd, by_batches = networkd()
    others = {"timed": timed_entries, "per_entry": per_entry, "networkd": by_networkd, "few_batches": by_batches}
    print(json.dumps({"rounds": rounds, **others}))


def restore() -> None:
    """Restore the recorded state. Kill a measurement that still runs after its SSH connection was lost."""
    with suppress(FileNotFoundError, ProcessLookupError):
        group = int((HERE / "group").read_text())
        while True:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.1)
    clean()
    for path in json.loads(NOTE.read_text())["absent"]:
        with suppress(OSError):  # does not exist, or contains foreign files
            os.rmdir(path)
    NOTE.unlink()


if __name__ == "__main__":
    {"note": note, "measure": measure, "entries": entries, "restore": restore}[sys.argv[2]]()
