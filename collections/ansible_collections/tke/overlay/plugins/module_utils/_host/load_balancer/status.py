# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drift of a host of the load balancer pair: how it differs from what was last applied. Nothing is changed.

What was applied is on the host itself: the files, and their checksums. So drift is
found without the specification.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts, read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    CA_FILE,
    CHECKSUMS_FILE,
    HAPROXY_FILE,
    HEALTH_AGENT_FILE,
    HEALTH_SOCKET,
    KEEPALIVED_FILE,
    LISTING_FILE,
    LOADED_FILE,
    LOADED_RULES_FILE,
    METRICS_FILES,
    RESTORE_FILE,
    RESTORE_UNIT,
    RULES_FILE,
    TABLE,
    TIMER_UNIT,
    UNIT_FILES,
    UNITS,
    config_id_in,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import file_drift
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import PAIR_CLUSTER_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import timer_state, unit_faults

FILES = (
    *(CA_FILE, PAIR_CLUSTER_FILE, HAPROXY_FILE, KEEPALIVED_FILE, RULES_FILE, HEALTH_AGENT_FILE, RESTORE_FILE),
    CHECKSUMS_FILE,
    *METRICS_FILES,
    *UNIT_FILES,
)
"""Every file of the load balancer that a host can have, except those in /run."""

WANTED_STATE = "enabled active"


class PairStatus(t.NamedTuple):
    """The drift of a host of the pair, a sentence for each difference; and the state of its timer in a few words."""

    drift: list[str]
    timer: str


def read_pair_status(run: Run) -> PairStatus | None:
    """Return the status of this host of the pair; ``None`` if it has nothing of a load balancer.

    :raises KernelError: something cannot be read.
    """
    found = read_files(FILES)
    if not found:
        return None
    drift = [*file_drift(CHECKSUMS_FILE, FILES), *_running_drift(found, run)]
    return PairStatus(drift, timer_state(TIMER_UNIT, RESTORE_UNIT, run))


def _running_drift(found: Texts, run: Run) -> t.Iterator[str]:
    """Compare what runs with the files: the units, the programs' configurations, and the rules."""
    faults = unit_faults(dict.fromkeys(UNITS, WANTED_STATE), run)
    yield from faults
    if HAPROXY_FILE in found and not any("haproxy" in fault for fault in faults):
        running = running_config_id()
        if not running:
            yield "HAProxy: does not answer on its health socket"
        elif running != config_id_in(found[HAPROXY_FILE]):
            yield f"HAProxy: runs another configuration than {HAPROXY_FILE}"
    loaded = read_files([LOADED_FILE]).get(LOADED_FILE)
    if loaded != found.get(RULES_FILE, "") + found.get(KEEPALIVED_FILE, "") and not any(
        "keepalived" in fault for fault in faults
    ):
        yield f"keepalived: runs another configuration than {KEEPALIVED_FILE}"
    if RULES_FILE in found:
        yield from rules_drift(found[RULES_FILE], run)


def running_config_id() -> str:
    """Return the identity of the configuration that HAProxy runs; empty if it does not answer."""
    try:
        return health_agent.fetch_health(files.ROOT + HEALTH_SOCKET).get("config", "")
    except OSError:
        return ""


def rules_drift(wanted: str, run: Run) -> list[str]:
    """Return a sentence if the kernel does not hold the rules of this text as they were loaded.

    As with the rules of a node, nft's listing right after the load is what a later listing must equal.
    """
    _code, out, _errors = run(("nft", "-s", "list", "table", *TABLE.split()), None)
    listing = re.sub(r"packets \d+ bytes \d+", "packets 0 bytes 0", out)
    if not listing.strip():
        return [f"rules: table {TABLE} is missing"]
    record = read_files((LOADED_RULES_FILE, LISTING_FILE))
    if record.get(LISTING_FILE) != listing or record.get(LOADED_RULES_FILE) != wanted:
        return [f"rules: table {TABLE} differs from {RULES_FILE}"]
    return []
