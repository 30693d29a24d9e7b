# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals to the letter, with both sides and the way out; and who is looked at for them."""

from __future__ import annotations

import errno

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import OVERHEAD, Peer, fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.vips import (
    EXTERNAL,
    PAIR,
    Claim,
    VipSpec,
    choose,
    problems_of_held,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_url import parse_url
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.migrate import inspect, migrate
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    FileStore,
    IndeterminateWriteError,
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone, tombstone_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import (
    assign,
    claims_of_ledger,
    plan,
    ranges_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.recover import (
    HostRecord,
    RecoveredLedger,
    recover,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.release import ReleaseRequest, release
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW, LATER = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
NODES = [
    *(InventoryNode(f"cloud{number}", ["cloud"], f"10.0.1.{number}", 1500) for number in range(1, 4)),
    *(InventoryNode(f"idc{number}", ["idc"], f"192.168.1.{number}", 1450) for number in range(1, 4)),
]


def refused(work, *arguments, **more):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **more)
    return caught.value.problems


# --- leaving ---


def going(*names, nodes=NODES, groups=None, force=False, now=LATER, where="/ledger"):
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    return release(SETTINGS, nodes, text, where, now, ReleaseRequest(names, groups or {}, force))


def test_who_leaves_is_told_what_is_wrong_with_his_name():
    assert refused(going) == [
        "nobody is named: say who is to go with -e overlay_release=idc7, or a list: -e overlay_release=idc7,idc8"
    ]
    assert refused(going, "idc1", "") == [
        "a name of overlay_release is empty: a list is written without spaces, -e overlay_release=idc7,idc8"
    ]
    begin = "there is no node {} (overlay_release), neither in the ledger nor in the inventory: "
    assert refused(going, "idc9", "zzz") == [
        begin.format("idc9") + "is idc3 or idc2 or idc1 meant?",
        begin.format("zzz") + "the ledger has cloud1, cloud2, cloud3, idc1, idc2, idc3",
    ]


def test_what_others_depend_on_is_named_to_the_letter():
    end = ": if that is meant, say so with -e overlay_release_force=true"
    groups = {"apiserver": ["idc2", "idc1"], "idc": ["idc1", "idc2", "idc3", "gone"], "clb": ["idc1"]}
    assert refused(going, "idc2", "idc1", "idc3", groups=groups) == [
        f"node idc1 is in group clb: other nodes reach the API server by way of it{end}",
        f"idc1, idc2 is all there is in group apiserver: no API server would be left{end}",
        f"idc1, idc2, idc3 is all there is in group idc: that site would have no node left{end}",
        f"3 of 6 nodes are more than 20% of the fleet: idc1, idc2, idc3{end}",
    ]


def test_two_of_six_are_many_and_one_of_six_is_not():
    assert len(refused(going, "idc1", "idc2")) == 1
    assert going("idc1")[1] == {"idc1": "10.244.3.0/24"}


def test_who_stays_is_brought_up_to_date_and_who_leaves_is_not_looked_at():
    nodes = [
        node._replace(underlay_ip="nowhere") if node.name == "idc1" else node._replace(underlay_mtu=1400)
        for node in NODES
    ]
    ledger, _released = going("idc1", nodes=nodes)
    assert {held.underlay_mtu for held in ledger.nodes.values()} == {1400}
    assert ledger.pending["10.244.3.0/24"].since == LATER
    torn = SETTINGS, NODES, "torn", "/the/ledger", NOW, ReleaseRequest(["idc1"], {})
    assert "/the/ledger" in refused(release, *torn)[0]


# --- the two VIPs ---


def chosen(wish, held=None):
    return refused(choose, wish, held or {})


def test_a_subnet_without_room_tells_who_has_what():
    ends = [
        "10.0.2.0 is the network address of 10.0.2.0/28 (overlay_clb_subnet)",
        "10.0.2.1 is the gateway of 10.0.2.0/28 (another one: overlay_clb_gateway)",
    ]
    hosts = [Claim(f"10.0.2.{number}", f"host h{number}") for number in range(2, 10)]
    reserved = ["10.0.2.12/30"]
    wish = VipSpec(PAIR, "10.0.2.0/28", reserved=reserved, addresses=[*hosts, Claim("10.0.3.1", "host elsewhere")])
    begin = "10.0.2.0/28 (overlay_clb_subnet) has {} free address{}, and {} needed: "
    end = ". Take a larger subnet, or reserve less"
    ten = "; ".join(ends + [f"10.0.2.{number} is host h{number}" for number in range(2, 10)])
    assert chosen(wish._replace(reserved=["10.0.2.11", *reserved])) == [
        f"{begin.format(1, '', '2 are')}{ten} and 3 more{end}"
    ]
    assert chosen(wish._replace(reserved=["10.0.2.10/31", *reserved])) == [
        f"{begin.format('no', 'es', '2 are')}{ten} and 3 more{end}"
    ]
    pinned = wish._replace(pins={"services": "10.0.2.10"}, reserved=["10.0.2.11", *reserved])
    assert chosen(pinned)[0].startswith(begin.format("no", "es", "1 is"))
    eight = VipSpec(PAIR, "10.0.2.0/29", addresses=hosts[:4])
    assert chosen(eight)[0].endswith("(overlay_clb_subnet). Take a larger subnet, or reserve less"), "no more than ten"
    eleven = VipSpec(PAIR, "10.0.2.0/28", addresses=hosts[:7], reserved=["10.0.2.8/29"])
    assert " and 1 more. " in chosen(eleven)[0]
    ten_exactly = VipSpec(PAIR, "10.0.2.0/28", addresses=hosts[:6], reserved=["10.0.2.8/29"])
    assert " more" not in chosen(ten_exactly)[0]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"pins": {"services": "10.0.2.1"}, "gateway": "10.0.2.1"}, "is the gateway (overlay_clb_gateway): choose"),
        ({"pins": {"services": "10.0.2.255"}}, "(overlay_clb_subnet): choose another one"),
        ({"provider": EXTERNAL, "pins": {}}, "overlay_clb_vips lacks apiserver and services: "),
    ],
)
def test_a_wish_that_cannot_be_has_its_way_out(wish, said):
    found = chosen(VipSpec(PAIR, "10.0.2.0/24")._replace(**wish))
    assert any(said in text for text in found)


def test_a_pair_without_a_subnet_is_told_what_it_needs():
    assert chosen(VipSpec(PAIR, None)) == ["overlay_clb_subnet is not set, and the pair needs two addresses of it"]


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.5", "169.254.1.1", "0.0.0.0"])
def test_an_address_that_no_other_host_could_reach_is_refused(address):
    external = VipSpec(EXTERNAL, None, pins={"apiserver": address, "services": "10.0.2.3"})
    what = f"the VIP apiserver {address} (overlay_clb_vips)"
    assert chosen(external) == [f"{what} is not an address that another host could reach: choose another one"]


def test_an_address_in_two_ranges_is_told_once_and_one_outside_is_none_of_them():
    ranges = [Claim("10.244.255.0/24", "the Service range"), Claim("10.244.0.0/16", "overlay_container_cidr")]
    held = {"apiserver": "10.244.255.9", "services": "10.0.2.3"}
    (found,) = problems_of_held(held, [], ranges)
    assert "lies in 10.244.255.0/24 (the Service range): move that, or " in found
    (found,) = chosen(VipSpec(PAIR, "10.244.255.0/24", ranges=ranges))
    assert "overlaps 10.244.255.0/24 (the Service range)" in found


def test_a_pin_that_is_what_is_held_is_no_change():
    held = {"apiserver": "10.0.2.8", "services": "10.0.2.9"}
    assert choose(VipSpec(PAIR, "10.0.2.0/24", pins={"services": " 10.0.2.9 "}), held) == held
    assert len(chosen(VipSpec(PAIR, "10.0.2.0/24", pins={"services": "10.0.2.7"}), held)) == 1


def test_a_host_address_with_a_length_is_a_subnet_and_a_number_is_none():
    assert choose(VipSpec(PAIR, "10.0.2.77/24"), {}) == {"apiserver": "10.0.2.2", "services": "10.0.2.3"}
    (found,) = chosen(VipSpec(PAIR, "10.0.2.0/24", reserved=[10]))
    assert found == "overlay_clb_reserved: 10 is neither an address nor a network"


# --- what others have ---


def test_a_node_that_only_the_ledger_knows_keeps_its_address_from_the_vips():
    ledger = assign(SETTINGS, NODES, None, "/ledger", NOW)
    ledger.assign([Request("silent")], NOW)
    claims = claims_of_ledger(ledger, [node.name for node in NODES[1:]])
    assert claims == [Claim("10.0.1.1", "node cloud1 (in the ledger but not in the inventory)")]
    assert ranges_of(ledger.pool) == [
        Claim("10.244.255.0/24", "the Service range, the end of overlay_container_cidr"),
        Claim("10.244.0.0/16", "overlay_container_cidr"),
    ]


def test_a_node_that_is_not_in_the_inventory_still_counts_for_the_mtu_and_is_named_with_all_its_kind():
    ledger = assign(SETTINGS, NODES, None, "/ledger", NOW)
    made = plan(SETTINGS, NODES[:3], assign(SETTINGS, NODES[:3], ledger.text(), "/ledger", LATER))
    assert made.document["mtu"] == 1450 - OVERHEAD[4]
    assert made.orphans == ["idc1", "idc2", "idc3"]
    assert any("not in the inventory, so kept as they are: idc1, idc2, idc3 (to give" in text for text in made.warnings)
    ledger.assign([Request("b"), Request("a")], NOW)
    made = plan(SETTINGS, NODES, ledger)
    assert any("no underlay address is known of a, b, so no other" in text for text in made.warnings)
    assert made.document["mtu"] == 1450 - OVERHEAD[4]


# --- the pool ---


def test_another_container_cidr_that_leaves_somebody_out_names_all_whom():
    ledger = Ledger("demo", Pool(["10.0.0.0/16", "10.1.0.0/16"], 256, 256))
    ledger.assign([Request("b"), Request("a")], NOW)
    ledger.assign([Request("c")], NOW)
    ledger.release(["c"], ["a"], NOW)
    (found,) = refused(ledger.adopt_pool, Pool(["10.2.0.0/16"], 256, 256))
    assert "10.0.0.0/16, 10.1.0.0/16 with 256 addresses per node and 256 services" in found
    assert "In the way: a 10.0.1.0/24, b 10.0.0.0/24; released but pending: 10.0.2.0/24 of c" in found
    ledger = Ledger("demo", Pool(["10.0.0.0/16"], 256, 256))
    ledger.assign([Request("a")], NOW)
    assert "; released but pending" not in refused(ledger.adopt_pool, Pool(["10.2.0.0/16"], 256, 256))[0]
    assert (
        "container CIDR 10.0.0.0/16 10.1.0.0/16"
        in Ledger("demo", Pool(["10.0.0.0/16", "10.1.0.0/16"], 256, 256)).summary()
    )


def test_a_node_cidr_of_nowhere_is_told_of_all_container_cidrs():
    pool = Pool(["10.0.0.0/16", "10.1.0.0/16"], 256, 256)
    ledger = Ledger("demo", pool)
    (found,) = refused(ledger.assign, [Request("a", node_cidr="10.2.0.0/24")], NOW)
    assert "10.2.0.0/24 is not a node CIDR of the container CIDR 10.0.0.0/16, 10.1.0.0/16" in found


def test_a_pin_says_so_from_the_beginning():
    ledger = Ledger("demo", Pool(["10.0.0.0/16"], 256, 256))
    ledger.assign([Request("a", node_cidr="10.0.9.0/24"), Request("b")], NOW)
    assert (ledger.nodes["a"].pinned, ledger.nodes["b"].pinned) == (True, False)


# --- a lost ledger ---


def account(node, number, underlay, mtu=1400, cidrs=("10.244.0.0/16",)):
    return {
        "node": node,
        "cluster": "demo",
        "node_cidr": f"10.244.{number}.0/24",
        "underlay": underlay,
        "container_cidr": list(cidrs),
        "service_cidr": "10.244.255.0/24",
        "mtu": mtu,
        "api": "",
        "view": "v",
    }


def found_of(rows, fleets):
    known = {name: HostRecord(**{key: row[key] for key in HostRecord._fields}) for name, row in rows.items()}
    return RecoveredLedger(known, fleets)


@pytest.mark.parametrize(("underlay", "version"), [("10.0.1.1", 4), ("fd00::1", 6)])
def test_a_host_that_nobody_has_in_the_inventory_gets_the_underlay_mtu_that_fits_its_own(underlay, version):
    fleet = fleet_text([Peer("a", "10.244.0.0/24", underlay)])
    ledger = recover(SETTINGS, [], found_of({"a": account("a", 0, underlay)}, {"v": fleet}), NOW)
    assert ledger.nodes["a"].underlay_mtu == 1400 + OVERHEAD[version]


def test_nobody_who_knows_anything_is_said_in_one_sentence():
    assert refused(recover, SETTINGS, [], RecoveredLedger({}, {}), NOW) == [
        "no host that was reached has a saved state of the overlay, so there is nothing to read a ledger from"
    ]


def test_a_host_of_another_pool_is_told_with_both_pools():
    cidrs = ["10.1.0.0/16", "10.2.0.0/16"]
    settings = SETTINGS._replace(container_cidr=["10.244.0.0/16", "10.245.0.0/16"])
    fleet = fleet_text([Peer("a", "10.244.0.0/24", "10.0.1.1")])
    problems = refused(
        recover, settings, [], found_of({"a": account("a", 0, "10.0.1.1", cidrs=cidrs)}, {"v": fleet}), NOW
    )
    assert (
        "host a has the container CIDR 10.1.0.0/16, 10.2.0.0/16, and overlay_container_cidr is "
        "10.244.0.0/16, 10.245.0.0/16" in "\n".join(problems)
    )


# --- a move ---


class Broken(FileStore):
    """A place that fails as a test wants."""

    def __init__(self, path, at, words):
        super().__init__(path)
        self.at, self.words, self.written = at, words, False

    def read(self):
        if self.at == "read" and self.written:
            raise ValidationError(self.words)
        return "something else" if self.at == "other" and self.written else super().read()

    def transact(self, change):
        if self.at == "doubt":
            raise IndeterminateWriteError(self.words)
        super().transact(change)
        self.written = True


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("doubt", "the disk is gone"),
        ("read", "the disk is gone"),
        ("other", "what was written to {where} is not what is read there"),
    ],
)
def test_a_move_that_is_not_finished_says_between_which_places_and_why(tmp_path, at, why):
    here, there = FileStore(str(tmp_path / "here")), Broken(str(tmp_path / "there"), at, "the disk is gone")
    here.transact(lambda _none: assign(SETTINGS, NODES, None, "/ledger", NOW).text())
    with pytest.raises(IndeterminateWriteError) as caught:
        migrate(inspect(here, there, "demo"), LATER)
    assert str(caught.value) == (
        f"the move of the ledger from {here.where} to {there.where} is unfinished, and nobody can use it until it is: "
        f"run the same again. The reason: {why.format(where=there.where)}"
    )
    assert tombstone_of(here.read()).since == LATER


@pytest.mark.parametrize("which", ["here", "there"])
def test_who_changes_a_place_during_the_move_is_told_by_its_name(tmp_path, which):
    stores = {name: FileStore(str(tmp_path / name)) for name in ("here", "there")}
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    stores["here"].transact(lambda _none: text)
    prepared = inspect(stores["here"], stores["there"], "demo")
    stores[which].transact(lambda _text: assign(SETTINGS, NODES[:2], None, "/ledger", NOW).text())
    (found,) = refused(migrate, prepared, LATER)
    assert found == f"the ledger {stores[which].where} was changed by somebody else during the move; run again"
    assert stores["here"].read() == (text if which == "there" else stores["here"].read())


def test_a_place_with_another_ledger_or_on_its_way_elsewhere_is_named(tmp_path):
    here, there = FileStore(str(tmp_path / "here")), FileStore(str(tmp_path / "there"))
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    here.transact(lambda _none: text)
    there.transact(lambda _none: "another")
    assert refused(inspect, here, there, "demo")[0].startswith(f"{there.where} has a different ledger")
    there.transact(lambda _text: Tombstone("/elsewhere", NOW, ledger=text, found=None).text())
    (found,) = refused(inspect, here, there, "demo")
    assert there.where in found
    assert "/elsewhere" in found
    here.transact(lambda _text: Tombstone("/elsewhere", NOW).text())
    (found,) = refused(inspect, here, FileStore(str(tmp_path / "empty")), "demo")
    assert here.where in found


@pytest.mark.parametrize("finished", [True, False])
def test_a_move_that_was_begun_is_of_the_cluster_that_is_asked_for(tmp_path, finished):
    here, there = FileStore(str(tmp_path / "here")), FileStore(str(tmp_path / "there"))
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    if finished:
        there.transact(lambda _none: text)
    here.transact(lambda _none: Tombstone(there.where, NOW, ledger=None if finished else text, found=None).text())
    assert "belongs to cluster 'demo'" in refused(inspect, here, there, "other")[0]


# --- places ---


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("etcd://me@h/p", "'etcd://...@h/p': a user does not belong there, as the place is logged: say ?user=name, or"),
        ("etcd://a:1,me:pw@b:x/p/q", "'etcd://a:1,...@b:x/p/q': a user does not belong there"),
        ("etcd://h:0/p/q", "'etcd://h:0/p/q': the end point 'h:0' is none"),
        ("etcd://h/p?key=a://b", "'etcd://h/p?key=a://b': cacert, cert and key are for TLS: write etcds:// for it"),
        ("etcds://h/p?cert=/c", "/p?cert=/c': cert and key (ETCDCTL_CERT and ETCDCTL_KEY) go together"),
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_shown_without_its_password(url, said):
    (found,) = refused(parse_url, url, {})
    assert said in found
    assert found.startswith("overlay_ledger is ")
    assert found.endswith(("TLS: write etcds:// for it", "together", "ETCDCTL_USER", "brackets"))


def test_two_things_that_are_wrong_with_a_place_are_told_at_once():
    assert len(refused(parse_url, "etcd://me@h?x=1", {})) == 3
    assert refused(parse_url, "etcd://h/pX/?x", {})[0].startswith("overlay_ledger is 'etcd://h/pX/?x': ")
    assert parse_url("etcd://h/pX/", {}).prefix == "pX"


def test_only_a_user_of_a_host_is_hidden_and_he_always_is():
    (found,) = refused(parse_url, "etcd://h/a@b/c?x=1", {})
    assert found.startswith("overlay_ledger is 'etcd://h/a@b/c?x=1': ")
    assert not any("secret" in text for text in refused(parse_url, "etcd://me:secret@h/p?key=a://b", {}))
    (found,) = refused(open_store, "etcd://h/p?user=me&password_file=/none://here")
    assert "No such file or directory" in found


def test_a_password_is_read_as_utf8_whatever_the_locale(tmp_path, monkeypatch):
    (tmp_path / "password").write_bytes("pässwörd\n".encode())
    place = parse_url(f"etcds://h/p?user=me&password_file={tmp_path}/password", {})
    assert place.access.password == "pässwörd"


def test_a_file_may_have_a_name_with_a_scheme_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "ledger"
    assert str(place) in open_store(str(place)).where
    with pytest.raises(ValidationError, match=r"http://"):
        open_store("http://x/etcd://y/z")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error; nothing was changed; mend this and run again"),
        (OSError("torn"), "torn; nothing was changed; mend this and run again"),
    ],
)
def test_a_ledger_that_cannot_be_written_has_a_reason_and_a_way_out(tmp_path, error, said):
    where = str(tmp_path / "ledger")
    assert FileStore(where)._why_not(error) == f"the ledger {where} cannot be written: {said}"


@pytest.mark.parametrize("torn", ["missing", "binary"])
def test_a_previous_version_that_cannot_be_read_is_passed_over(tmp_path, torn):
    store = FileStore(str(tmp_path / "ledger"))
    for names in ("a", "ab", "abc"):
        store.transact(lambda _text, names=names: names)
    oldest = sorted(tmp_path.glob(".ledger.0*"))[0]
    if torn == "binary":
        oldest.write_bytes(b"\xff\xfe")
    else:
        oldest.unlink()
        oldest.mkdir()
    assert [version.text for version in store.previous()] == ["ab"]
