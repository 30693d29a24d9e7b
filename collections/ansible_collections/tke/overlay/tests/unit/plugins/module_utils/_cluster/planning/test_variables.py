# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of hosts: each problem names the variable, its value, the hosts and the remedy."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    RANGES,
    VariableSpec,
    VariableSurvey,
    describe_group_vars,
    nearest,
    problem_of_missing,
    problems_of_api_name,
    problems_of_balanced_host,
    problems_of_route,
    problems_of_value,
    problems_of_variable,
    spec_of,
)

TEXT, NUMBER, BOOLEAN = VariableSpec("str"), VariableSpec("int"), VariableSpec("bool")
TEXTS = VariableSpec("list", "str")
PATHS = VariableSpec("list", "path")
SERVICES = VariableSpec(
    "list",
    "dict",
    options={"name": VariableSpec("str", required=True), "backends": VariableSpec("list", "str", required=True)},
)
LISTENERS = SERVICES._replace(
    options={**SERVICES.options, "vip": VariableSpec("str"), "port": VariableSpec("int", required=True)}
)
DICTIONARY = VariableSpec("dict")
RAW = VariableSpec("raw")
VIPS = VariableSpec("dict", options={"apiserver": TEXT, "services": TEXT})


def test_a_specification_has_what_argument_specs_say():
    option = {
        "type": "list",
        "elements": "dict",
        "options": {"vip": {"choices": ["a", "b"]}, "port": {"type": "int", "required": True}},
    }
    assert spec_of(option) == VariableSpec(
        "list",
        "dict",
        options={"vip": VariableSpec("str", choices=("a", "b")), "port": VariableSpec("int", required=True)},
    )


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        *((TEXT, value) for value in ("demo", "a b", "\u00fcber", 7, "{{ x }}", "$(x)")),
        *((NUMBER, value) for value in (8472, "8472", " 8472 ", "-1", "+1", 8472.0, 0)),
        *((BOOLEAN, value) for value in (True, False, "yes", "No", "ON", " off ", 1, "0", "t", "f", "y", "n", "TRUE")),
        *((TEXTS, value) for value in (["a", "b"], "a, b", "a", 7, [], ("a",))),
        (PATHS, ["/etc/x"]),
        (SERVICES, [{"name": "x", "backends": ["a:1"]}]),
        (SERVICES, [{"name": "x", "backends": "a:1"}]),
        *((DICTIONARY, value) for value in ({}, {"a": 1}, '{"a": 1}')),
        *((VIPS, value) for value in ({"apiserver": "10.0.0.1", "services": ""}, {"services": None}, {})),
        (VariableSpec("str", choices=("a", "b")), "b"),
        (VariableSpec("raw"), object()),
    ],
)
def test_accepts_what_ansible_converts(spec, value):
    assert problems_of_value("overlay_x", value, spec) == []


@pytest.mark.parametrize(
    ("spec", "value", "problem"),
    [
        (TEXT, None, "overlay_x has no value: give it one, or remove the line"),
        (TEXT, "", "overlay_x '' is empty: give it a value, or remove the line"),
        (TEXT, True, "overlay_x True is a boolean, as YAML reads yes, no, on, off, true and false: put the text in"),
        (TEXT, 1.1, "overlay_x 1.1 is a number with a fraction, of which YAML drops zeros: put the text in quotes"),
        (TEXT, ["a"], "overlay_x ['a'] is a list: set one text"),
        (TEXT, {"a": 1}, "overlay_x {'a': 1} is a dictionary: set one text"),
        (TEXT, "a\nb", "overlay_x 'a\\nb' is not one line of printable characters"),
        (TEXT, " a", "overlay_x ' a' is not one line of printable characters without spaces at its ends"),
        (TEXT, "a\u202eb", "overlay_x 'a\\u202eb' is not one line of printable characters"),
        (NUMBER, "0x10", "overlay_x '0x10' is not a whole number in decimal digits"),
        (NUMBER, "1_0", "overlay_x '1_0' is not a whole number"),
        (NUMBER, "\u0661", "overlay_x '\u0661' is not a whole number"),
        (NUMBER, 1.5, "overlay_x 1.5 is not a whole number"),
        (NUMBER, True, "overlay_x True is not a whole number"),
        (NUMBER, [1], "overlay_x [1] is not a whole number"),
        (NUMBER, float("inf"), "overlay_x inf is not a whole number"),
        (BOOLEAN, "maybe", "overlay_x 'maybe' is not a boolean: set true or false"),
        (BOOLEAN, 2, "overlay_x 2 is not a boolean"),
        (BOOLEAN, [True], "overlay_x [True] is not a boolean"),
        (TEXTS, {"a": 1}, "overlay_x {'a': 1} is a dictionary: set a list"),
        (TEXTS, ["a", None], "overlay_x: item 2, has no value"),
        (TEXTS, "a,\tb\nc", "overlay_x: item 2, 'b\\nc' is not one line"),
        (SERVICES, "x", "overlay_x 'x' is a text: set a list of dictionaries with name, backends"),
        (SERVICES, [3], "overlay_x: item 1, 3 is a number: set a dictionary"),
        (
            SERVICES,
            [{"name": "x", "backend": 1, "backends": "a"}],
            "overlay_x: item 1, has the unknown key 'backend': ",
        ),
        (SERVICES, [{"name": "x"}], "overlay_x: item 1, {'name': 'x'} lacks backends"),
        (DICTIONARY, ["a"], "overlay_x ['a'] is a list: set a dictionary"),
        (DICTIONARY, "a", "overlay_x 'a' is a text: set a dictionary"),
        (DICTIONARY, True, "overlay_x True is a boolean: set a dictionary"),
        (DICTIONARY, {"a\n": 1}, "overlay_x has the key 'a\\n': set a name on one line"),
        (VIPS, {"apiserver": ["a"]}, "overlay_x apiserver ['a'] is a list: set one text"),
        (VariableSpec("str", choices=("a", "b")), "c", "overlay_x 'c' is unknown: set a or b"),
    ],
)
def test_names_value_and_remedy_of_a_wrong_type(spec, value, problem):
    (found,) = problems_of_value("overlay_x", value, spec)
    assert found.startswith(problem)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_numbers_have_ranges_and_errors_name_them(name):
    least, most, _unit = RANGES[name]
    assert problems_of_variable(name, least, NUMBER) == problems_of_variable(name, str(most), NUMBER) == []
    for value in (least - 1, most + 1):
        (problem,) = problems_of_variable(name, value, NUMBER)
        assert problem.startswith(f"{name} {value} is not between")
        assert str(most) in problem
    (problem,) = problems_of_variable(name, "0x10", NUMBER)
    assert problem.startswith(f"{name} '0x10' is not a whole number in decimal digits: set a number from {least} to")


def test_a_number_without_a_range_can_be_any():
    assert problems_of_variable("overlay_max_services", 10**9, NUMBER) == []


@pytest.mark.parametrize(("seconds", "valid"), [(0, True), (1, False), (2, False), (3, True), (3600, True)])
def test_a_confirmation_takes_no_time_or_three_seconds(seconds, valid):
    problems = problems_of_variable("overlay_confirm_timeout", seconds, NUMBER)
    assert problems == (
        [] if valid else [f"overlay_confirm_timeout {seconds} is not between 3 and 3600 seconds (or 0)"]
    )


@pytest.mark.parametrize(
    ("name", "spec", "value"),
    [
        ("overlay_api_name", TEXT, "api.example"),
        ("overlay_clb_gateway", TEXT, "10.0.2.1"),
        ("overlay_clb_subnet", TEXT, "10.0.2.0/24"),
        ("overlay_clb_subnet", TEXT, None),
        ("overlay_node_cidr", TEXT, None),
        ("overlay_kubeconfigs", PATHS, "/etc/a, /etc/b"),
        ("overlay_clb_services", SERVICES, [{"name": "a.example", "backends": ["10.0.0.1:1", "b.example:65535"]}]),
        (
            "overlay_clb_listeners",
            LISTENERS,
            [{"name": "a_1", "backends": ["x:1"], "port": "65535", "vip": "apiserver"}],
        ),
        *(("overlay_serial", RAW, value) for value in (1, "20", "1%", "100%", [1, "5", "20%"])),
        *(("overlay_max_fail_percentage", RAW, value) for value in (0, "0", 12.5, "12.5", 100)),
    ],
)
def test_accepts_what_the_grammar_of_a_variable_allows(name, spec, value):
    assert problems_of_variable(name, value, spec) == []


@pytest.mark.parametrize(
    ("name", "spec", "value", "problem"),
    [
        ("overlay_api_name", TEXT, "API.example", "overlay_api_name 'API.example' is not a host name in lower case"),
        ("overlay_api_name", TEXT, "10.0.0.1", "overlay_api_name '10.0.0.1' is not a host name in lower case"),
        ("overlay_clb_gateway", TEXT, "10.0.2.01", "overlay_clb_gateway '10.0.2.01' is not an IPv4 address"),
        ("overlay_clb_route_via", TEXT, "gw", "overlay_clb_route_via 'gw' is not an IPv4 address"),
        ("overlay_clb_subnet", TEXT, "10.0.2.0", "overlay_clb_subnet '10.0.2.0' has no prefix length: write it as in"),
        ("overlay_clb_subnet", TEXT, "10.0.2.7/24", "overlay_clb_subnet '10.0.2.7/24' must be written 10.0.2.0/24"),
        ("overlay_clb_subnet", TEXT, "fd00::/64", "overlay_clb_subnet 'fd00::/64' is not an IPv4 network"),
        ("overlay_clb_subnet", TEXT, "x", "overlay_clb_subnet 'x' is not a network such as 10.244.0.0/16"),
        ("overlay_kubeconfigs", PATHS, "a/b", "overlay_kubeconfigs: 'a/b' is not an absolute path"),
        (
            "overlay_clb_services",
            SERVICES,
            [{"name": "A.example", "backends": ["x:1"]}],
            "overlay_clb_services: 'A.example' is not a host name in lower case",
        ),
        (
            "overlay_clb_services",
            SERVICES,
            [{"name": "a.example", "backends": ["x:1", "10.0.0.1"]}],
            "overlay_clb_services: 'a.example': '10.0.0.1' is not host:port, where host is a name or an IPv4 address",
        ),
        (
            "overlay_clb_services",
            SERVICES,
            [{"name": "a.example", "backends": ["x:1"]}] * 2,
            "overlay_clb_services: 'a.example' is listed twice",
        ),
        (
            "overlay_clb_listeners",
            LISTENERS,
            [{"name": "a b", "backends": ["x:1"], "port": 1}],
            "overlay_clb_listeners: 'a b': use only letters, digits, '_' and '-' in the name",
        ),
        (
            "overlay_clb_listeners",
            LISTENERS,
            [{"name": "a", "backends": ["x:1"], "port": 1, "vip": "other"}],
            "overlay_clb_listeners: 'a': unknown VIP 'other': set apiserver or services",
        ),
        (
            "overlay_clb_listeners",
            LISTENERS,
            [{"name": "a", "backends": ["x:1"], "port": 65536}],
            "overlay_clb_listeners: 'a': port 65536 is not between 1 and 65535",
        ),
        (
            "overlay_clb_listeners",
            LISTENERS,
            [{"name": "a", "backends": "x", "port": 65535}],
            "overlay_clb_listeners: 'a': 'x' is not host:port, where host is a name or an IPv4 address",
        ),
    ],
)
def test_names_what_the_grammar_of_a_variable_forbids(name, spec, value, problem):
    (found,) = problems_of_variable(name, value, spec)
    assert found.startswith(problem)


BATCHES = (
    "ten",
    "",
    " ",
    5.5,
    "5.5",
    "1,2",
    "[1]",
    0,
    "0",
    -3,
    "-3",
    "0%",
    "101%",
    "5.5%",
    True,
    [],
    [1, 0],
    [[1]],
    {},
)
SHARES = ("ten", "", "10%", -1, 101, "nan", "inf", True, [], {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *(("overlay_serial", value, "a percentage from 1% to 100%, or a list of these, as in -e") for value in BATCHES),
        *(("overlay_max_fail_percentage", value, "is not a number from 0 to 100") for value in SHARES),
    ],
)
def test_sizes_of_batches_are_checked(name, value, words):
    (problem,) = problems_of_variable(name, value, RAW)
    assert problem.startswith(f"{name} ")
    assert words in problem


@pytest.mark.parametrize(
    ("cluster", "given", "valid"),
    [
        ("demo", {"overlay_clb_subnet", "overlay_api_ca"}, True),
        ("My Cluster", {"overlay_clb_subnet", "overlay_api_ca"}, False),
        ("My Cluster", {"overlay_clb_provider", "overlay_kubeconfigs"}, False),
        ("My Cluster", {"overlay_clb_subnet", "overlay_api_ca", "overlay_api_name"}, True),
        ("My Cluster", {"overlay_clb_subnet"}, True),
        ("My Cluster", {"overlay_api_ca"}, True),
    ],
)
def test_the_cluster_must_give_a_name_only_where_it_is_used(cluster, given, valid):
    problems = problems_of_api_name(cluster, given)
    assert bool(problems) is not valid
    for problem in problems:
        assert problem.startswith(
            "overlay_cluster 'My Cluster' gives the API server the name 'api.My Cluster.internal'"
        )
        assert problem.endswith("set overlay_api_name")


@pytest.mark.parametrize("provider", ["overlay_clb_provider", None])
@pytest.mark.parametrize("subnet", ["overlay_clb_subnet", None])
@pytest.mark.parametrize("gateway", ["overlay_clb_route_via", None])
def test_a_gateway_needs_the_subnet_behind_it(provider, subnet, gateway):
    problems = problems_of_route({provider, subnet, gateway} - {None})
    assert bool(problems) is bool(provider and gateway and not subnet)
    for problem in problems:
        assert problem.startswith("overlay_clb_route_via is the gateway to overlay_clb_subnet")


@pytest.mark.parametrize(
    ("group", "address", "kind"),
    [
        ("clb", "10.0.1.1", None),
        ("clb", "clb1.example", "an IPv4 address"),
        ("clb", 7, "an IPv4 address"),
        ("apiserver", "10.0.1.1", None),
        ("apiserver", "api1.example", None),
        ("apiserver", "10.0.1.1:1\n  server zz 10.9.9.9", "a host name or an IPv4 address"),
        ("apiserver", "fd00::1", "a host name or an IPv4 address"),
        ("apiserver", None, "a host name or an IPv4 address"),
    ],
)
def test_the_pair_reaches_its_hosts_at_an_address(group, address, kind):
    problems = problems_of_balanced_host("h", group, address)
    start = f"host h (group {group}): the address {address!r} is not {kind}: set overlay_underlay_ip"
    assert problems == ([start] if kind else [])


def test_a_number_without_a_value_has_one_remedy():
    assert problems_of_variable("overlay_vni", None, NUMBER) == [
        "overlay_vni has no value: give it one, or remove the line"
    ]


# --- all hosts ------------------------------------------------------------------------------------

GROUPS = {"all": ["a", "b", "c"], "overlay_nodes": ["a", "b", "c"], "idc": ["b", "c"], "cloud": ["a"]}


def survey(**values):
    """Return the survey of three hosts; ``a=5`` is the VNI of host a."""
    found = VariableSurvey({"overlay_vni": NUMBER, "overlay_underlay_ip": TEXT}, ["overlay_answer"])
    for host in ("a", "b", "c"):
        found.host(host)
        if host in values:
            found.value("overlay_vni", values[host])
    return found


def test_a_problem_of_all_hosts_is_reported_once_without_hosts():
    found = survey(a=0, b=0, c=0)
    assert found.problems(GROUPS) == ["overlay_vni 0 is not between 1 and 16777215"]
    assert found.invalid == found.given == {"overlay_vni"}
    assert found.failed == set()


def test_a_problem_of_some_hosts_names_them_or_their_group():
    assert survey(a=0, b=0).problems(GROUPS) == ["overlay_vni 0 is not between 1 and 16777215 (a, b)"]
    assert survey(b=0, c=0).problems(GROUPS) == ["overlay_vni 0 is not between 1 and 16777215 (group idc)"]
    assert survey(a=0, b=-1, c=1).problems({}) == [
        "overlay_vni 0 is not between 1 and 16777215 (a)",
        "overlay_vni -1 is not between 1 and 16777215 (b)",
    ]


def test_values_of_different_types_are_checked_apart():
    assert survey(a=1, b="1", c=True).problems({}) == [
        "overlay_vni True is not a whole number in decimal digits: set a number from 1 to 16777215 (c)"
    ]


def test_many_hosts_are_counted():
    found = VariableSurvey({"overlay_vni": NUMBER}, [])
    for number in range(9):
        found.host(f"h{number}")
        if number:
            found.value("overlay_vni", 0)
            found.value("overlay_vni", 0)
    assert found.problems({}) == ["overlay_vni 0 is not between 1 and 16777215 (h1, h2, h3, h4, h5 and 3 more)"]


def test_a_hostile_name_of_a_host_is_shown_on_one_line():
    found = VariableSurvey({"overlay_vni": NUMBER}, [])
    for host in ("a", "b\n  c"):
        found.host(host)
    found.value("overlay_vni", 0)
    assert found.problems({}) == ["overlay_vni 0 is not between 1 and 16777215 (b\\n  c)"]


def test_the_planner_checks_variables_of_one_host():
    found = survey()
    found.value("overlay_underlay_ip", ["wrong"])
    assert found.problems(GROUPS) == []
    assert found.given == {"overlay_underlay_ip"}


@pytest.mark.parametrize(
    ("gathered", "remedy"),
    [
        (False, "define what it refers to, or set the value itself"),
        (True, "the playbooks of tke.overlay gather no facts, so set the value itself, or gather facts into a fact"),
    ],
)
def test_a_variable_that_cannot_be_evaluated_is_not_missing(gathered, remedy):
    found = survey()
    found.failure("overlay_vni", "'x' is undefined", gathered)
    (problem,) = found.problems(GROUPS)
    assert problem.startswith(f"overlay_vni is set, but cannot be evaluated: 'x' is undefined: {remedy}")
    assert found.failed == found.invalid == found.given == {"overlay_vni"}


def test_one_warning_lists_all_unknown_variables():
    found = survey()
    for name in ("overlay_vnii", "overlay_zzzzzzzz"):
        found.unknown(name)
    (warning,) = found.warnings(GROUPS)
    assert warning.startswith("variables that tke.overlay does not know, and ignores: overlay_vnii (c), did you mean ")
    assert warning.endswith("did you mean overlay_vni?; overlay_zzzzzzzz (c)")
    assert survey().warnings(GROUPS) == []
    assert found.known == {"overlay_answer", "overlay_vni", "overlay_underlay_ip"}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("overlay_mtu", "overlay_underlay_mtu"),
        ("overlay_containercidr", "overlay_container_cidr"),
        ("overlay_container_cidrs", "overlay_container_cidr"),
        ("overlay_vin", "overlay_vni"),
        ("overlay_Port", "overlay_port"),
        ("overlay_kubeconfig", "overlay_kubeconfigs"),
        ("overlay_my_own_thing", None),
    ],
)
def test_the_nearest_name_is_what_the_user_meant(name, near):
    known = [
        *("overlay_vni", "overlay_port", "overlay_underlay_mtu", "overlay_container_cidr", "overlay_node_cidr"),
        *("overlay_kubeconfigs", "overlay_kubeconfig_clusters", "overlay_api_port"),
    ]
    assert nearest(name, known) == near
    assert nearest(name, []) is None


def test_missing_variables_name_the_place_and_the_files_found():
    one = problem_of_missing(["overlay_cluster"], "overlay_nodes", "/inv", "")
    assert one.startswith(
        "overlay_cluster is not set for any host of group overlay_nodes: set it in /inv/group_vars/all."
    )
    assert "where it finds none" in one
    two = problem_of_missing(["overlay_cluster", "overlay_container_cidr"], "g", "/inv", "a.yml; b.yml")
    assert two.startswith(
        "overlay_cluster and overlay_container_cidr are not set for any host of group g: set them in "
    )
    assert "where it finds a.yml; b.yml" in two


def test_group_vars_of_no_group_are_pointed_out():
    assert describe_group_vars(
        ["overlay-nodes.yml", "idc", "all.yaml", "zzz.json", "cloud.txt", "overlay_nodes.json"],
        ["overlay_nodes", "idc"],
    ) == [
        "all.yaml",
        "cloud.txt is for no group of this inventory",
        "idc",
        "overlay-nodes.yml is for no group of this inventory, did you mean overlay_nodes?",
        "overlay_nodes.json",
        "zzz.json is for no group of this inventory",
    ]


@pytest.mark.parametrize("name", ["overlay_release", "overlay_leaving"])
def test_an_empty_name_in_a_list_of_nodes_is_left_to_the_planner(name):
    assert problems_of_variable(name, "idc2,", TEXTS) == []
    assert problems_of_variable(name, ["idc2", ""], TEXTS) == []
    assert "is empty" in problems_of_variable(name, "", TEXTS)[0]
    assert "item 2" in problems_of_variable("overlay_reserved", ["a", ""], TEXTS)[0]


LINKS = VariableSpec(
    "list",
    "dict",
    options={
        "sites": VariableSpec("list", "str", required=True),
        "transport": VariableSpec("str", choices=("vxlan", "direct", "wireguard")),
        "mtu": NUMBER,
    },
)


@pytest.mark.parametrize(
    ("name", "spec", "value"),
    [
        ("overlay_links", LINKS, None),
        ("overlay_links", LINKS, []),
        (
            "overlay_links",
            LINKS,
            [{"sites": "a,b", "mtu": "1400"}, {"sites": ["a"], "transport": "direct"}, {"sites": "b"}],
        ),
        ("overlay_site", TEXT, "shanghai-2"),
        ("overlay_site", TEXT, 7),
        ("overlay_site", TEXT, None),
        *(("overlay_wireguard_endpoint", TEXT, value) for value in ("none", "203.0.113.7:51820", "[2001:db8::7]:1")),
    ],
)
def test_accepts_links_sites_and_endpoints(name, spec, value):
    assert problems_of_variable(name, value, spec) == []


@pytest.mark.parametrize(
    ("name", "spec", "value", "words"),
    [
        ("overlay_links", LINKS, [{}], ["item 1", "lacks sites"]),
        ("overlay_links", LINKS, [{"sites": []}], ["item 1 has 0 sites"]),
        ("overlay_links", LINKS, [{"sites": ["a", "b", "c"]}], ["item 1 has 3 sites"]),
        ("overlay_links", LINKS, [{"sites": "a b"}], ["item 1: sites", "'a b'", "letters, digits"]),
        ("overlay_links", LINKS, [{"sites": "a", "mtu": 575}], ["item 1: mtu 575", "576", "65535"]),
        ("overlay_links", LINKS, [{"sites": "a", "speed": 1}], ["'speed'", "sites, transport, mtu"]),
        ("overlay_links", LINKS, [{"sites": "a", "transport": "gre"}], ["'gre'", "vxlan or direct or wireguard"]),
        (
            "overlay_links",
            LINKS,
            [{"sites": "b,a"}, {"sites": "a"}, {"sites": ["a", "b"]}],
            ["item 3", "item 1", "a and b"],
        ),
        ("overlay_links", LINKS, [{"sites": "a"}, {"sites": ["a", "a"]}], ["item 2", "item 1"]),
        ("overlay_links", LINKS, "a", ["'a'", "a list of dictionaries"]),
        ("overlay_site", TEXT, "*", ["overlay_site '*'"]),
        ("overlay_site", TEXT, "x" * 64, ["overlay_site", "63"]),
        ("overlay_wireguard_endpoint", TEXT, None, ["has no value"]),
        *(
            ("overlay_wireguard_endpoint", TEXT, value, ["overlay_wireguard_endpoint", value, "ADDRESS:PORT", "none"])
            for value in ("10.0.0.1", "host.example:51820", "10.0.0.1:65535", "2001:db8::7:1", "10.0.0.01:1", "None")
        ),
    ],
)
def test_names_what_is_wrong_with_links_sites_and_endpoints(name, spec, value, words):
    (found,) = problems_of_variable(name, value, spec)
    assert [word for word in words if word not in found] == []
