# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text is data: what a module on a host is given reaches no program and no file as syntax.

The options come from the argument specifications, so a new option needs an entry in
``CALLS`` or the test fails. Each text option is given each hostile text, in check and
diff mode. Either the module fails with one readable error that names the option, or
the text is in the same place as the harmless one: no batch, no command and no file has
another structure.
"""

from __future__ import annotations

import copy
import importlib
import json
import shlex

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.tke.overlay.plugins.module_utils import _module
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.run import ProbeResult
from ansible_collections.tke.overlay.plugins.modules import probe

HOSTILE = {
    "line feed": "a\nb",
    "statement behind a line feed": "a\n    server zz 10.9.9.9:1",
    "carriage return": "a\rb",
    "NUL": "a\0b",
    "tab": "a\tb",
    "space": "a b",
    "space at the end": "a ",
    "double quote": 'a"b',
    "single quote": "a'b",
    "backslash": "a\\",
    "substitution": "$(touch /tmp/x)",
    "backticks": "`touch /tmp/x`",
    "variable": "${IFS}x",
    "semicolon": "a; reboot",
    "comment": "a#b",
    "pipe": "a|b",
    "ampersand": "a&b",
    "redirection": "a>b",
    "braces": "a } table inet x {",
    "template": "{{ lookup('pipe', 'id') }}",
    "log format": "%[env(HOME)]",
    "specifier of a unit": "%n",
    "option": "-all",
    "long option": "--flush",
    "parent directory": "../../etc/passwd",
    "very long": "a" * 5000,
    "Arabic-Indic digits": "١٢٣",
    "full-width digits": "\uff11\uff12",
    "address in other digits": "\uff11\uff10.0.0.1",
    "address and port in other digits": "10.0.0.1:٨٠",
    "zone of an address": "fe80::1%x; reboot",
    "network with a zone": "fe80::%x/64",
    "line separator": "a\u2028b",
    "next line": "a\x85b",
    "right-to-left override": "a\u202eb",
    "end of a script": "</script><script>alert(1)</script>",
    "end of CDATA": "]]>",
    "empty": "",
    "lone surrogate": "a\udcffb",
    "homograph": "\u0430pi.example",
}

DOCUMENT = {
    "schema": 1,
    "cluster": "demo",
    "device": "tke0",
    "vni": 1,
    "port": 8472,
    "mtu": 1400,
    "bridge": "tke-br0",
    "container_cidr": ["10.244.0.0/16"],
    "service_cidr": "10.244.255.0/24",
    "fleet": "a 10.244.0.0/24 10.0.1.1\nb 10.244.1.0/24 10.0.1.2\n",
    "former": "10.244.9.0/24 c\n",
    "ledger_versions": "41-3fa9c2d1 40-95b046c3",
    "links": "* * vxlan 1400\n",
}
PAIR = [{"name": "clb1", "address": "10.0.1.1"}, {"name": "clb2", "address": "10.0.1.2"}]
ENDPOINT = {
    "names": {"api.demo.internal": "10.0.2.2", "git.example": "10.0.2.3"},
    "api": {"name": "api.demo.internal", "port": 6443},
    "route": {"subnet": "10.0.2.0/24", "via": "10.0.1.9"},
    "clusters": ["kubernetes"],
    "services": ["git.example"],
    "kubeconfigs": ["/etc/kubernetes/kubelet.conf"],
    "hosts_file": "/etc/hosts",
    "kubeconfig_services": ["kubelet"],
}

CALLS = [
    ("node", {"name": "a", "document": DOCUMENT, "confirmation": "0123abcd", "cni_bin_dirs": ["/opt/cni/bin"]}),
    ("node", {"name": "a", "document": DOCUMENT, "metrics_dir": "/etc", "sites": {"cloud": "a b"}}),
    ("node", {"state": "absent", "device": "tke0", "bridge": "tke-br0"}),
    ("overlay_info", {"name": "a", "document": DOCUMENT, "vips": ["10.0.2.2"], "cni_bin_dirs": ["/opt/cni/bin"]}),
    ("flannel", {"device": "tke0", "node_cidr": "10.244.3.0/24"}),
    ("probe", {"name": "a", "document": DOCUMENT, "sites": {"cloud": "a b"}, "skip": ["b"], "source": "127.0.0.1"}),
    ("probe", {"name": "a", "document": DOCUMENT, "pods": True, "cni_bin_dirs": ["/opt/cni/bin"]}),
    ("conformance", {"state": "present", "name": "a", "document": DOCUMENT, "cni_bin_dirs": ["/opt/cni/bin"]}),
    ("conformance", {"state": "absent", "name": "a", "document": DOCUMENT, "cni_bin_dirs": ["/opt/cni/bin"]}),
    (
        "conformance",
        {
            "state": "probed",
            "name": "a",
            "document": DOCUMENT,
            "sites": {"cloud": "a b"},
            "peers": [{"name": "b", "addresses": ["10.244.1.2"], "host_port": 28471}],
            "reason": "no room",
            "services": ["10.244.255.10:53"],
            "dns": "10.244.255.10",
            "dns_names": ["kubernetes.default.svc.cluster.local"],
            "outside": ["10.0.1.9"],
            "api": {"name": "api.demo.internal", "address": "10.0.2.2"},
            "cni_bin_dirs": ["/opt/cni/bin"],
        },
    ),
    ("conformance", {"state": "absent", "ca": "-----BEGIN CERTIFICATE-----"}),
    ("probe", {"peers": [{"name": "b", "address": "127.0.0.1"}], "source": "127.0.0.1"}),
    (
        "clb",
        {
            "name": "clb1",
            "pair": PAIR,
            "vips": {"apiserver": "10.0.2.2", "services": "10.0.2.3"},
            "subnet": "10.0.1.0/24",
            "cluster": "demo",
            "metrics_dir": "/etc",
            "apiservers": {"api1": "10.0.1.5:6443"},
            "services": [{"name": "git.example", "backends": ["10.0.1.6:443"]}],
            "listeners": [{"name": "ntp", "port": 4460, "backends": ["time.example:4460"]}],
        },
    ),
    ("api_endpoint", {**ENDPOINT, "ca": "-----BEGIN CERTIFICATE-----"}),
    ("api_endpoint", {**ENDPOINT, "ca_file": "/dev/null"}),
    ("api_endpoint", {"state": "absent", "hosts_file": "/etc/hosts"}),
    ("route", {"device": "tke0", "entries": [{"dst": "10.244.1.0/24", "via": "10.244.1.0"}]}),
    ("fdb", {"device": "tke0", "entries": [{"mac": "0a:58:0a:f4:01:00", "dst": "10.0.1.2"}]}),
    ("neighbor", {"device": "tke0", "entries": [{"address": "10.244.1.0", "mac": "0a:58:0a:f4:01:00"}]}),
    (
        "vxlan",
        {
            "name": "tke0",
            "vni": 1,
            "local": "10.0.1.1",
            "dev": "eth0",
            "mac": "0a:58:0a:f4:00:00",
            "addresses": ["10.244.0.0/32"],
        },
    ),
    ("vxlan", {"name": "tke0", "state": "absent"}),
    ("saved_state", {}),
    ("wireguard_key", {"generation": 1}),
]

ERRORS = {
    "name": ["name", "fleet", "node", "host", "API server", "document", "overlay_clb_", "pair"],
    "address": ["address"],
    "apiservers": ["API server"],
    "backends": ["overlay_clb_"],
    "confirmation": ["confirmation"],
    "key": ["names", "API server", "sites"],
    "value": ["names", "API server", "sites"],
    "subnet": ["subnet", "has no address in"],
    "node_cidr": ["node CIDR", "of the fleet"],
    "underlay": ["underlay", "of the fleet"],
    "fleet": ["fleet", "is not in the plan"],
    "links": ["link"],
    "kubeconfigs": ["kubeconfig"],
    "ca": ["ca "],
    "vips": ["vips"],
}
"""Option -> words of which an error has one; by default the name of the option."""

NOT_USED = {
    ("api_endpoint", "clusters"): "compared with names in kubeconfigs",
    ("api_endpoint", "ca"): "PEM text: OpenSSL reads it",
    ("clb", "take_over"): "compared with the recorded cluster",
    ("node", "cluster"): "compared with the recorded cluster",
    ("node", "take_over"): "compared with the recorded cluster",
    ("node", "renumber"): "compared with names of the fleet",
    ("node", "unreached"): "compared with names of the fleet",
    ("conformance", "ca"): "PEM text: OpenSSL reads it",
    ("clb", "ca"): "PEM text: HAProxy reads the file",
    ("conformance", "sites"): "compared with names of the fleet",
    ("conformance", "peers"): "the name is compared with names of the fleet",
    ("conformance", "reason"): "returned",
    ("overlay_info", "vips"): "compared with the addresses of the host",
    ("probe", "skip"): "compared with names of the fleet",
    ("probe", "sites"): "compared with names of the fleet",
    ("probe", "peers"): "the name is a key of the result",
}
"""Options whose texts are compared or returned, and never written."""

LINKS = [
    {
        "ifname": "eth0",
        "mtu": 1500,
        "flags": ["UP"],
        "addr_info": [{"family": "inet", "local": "10.0.1.1", "prefixlen": 24}],
    },
]


class Ended(Exception):
    """The module has returned its result or an error."""


class FakeModule:
    """An ``AnsibleModule`` in check and diff mode, with the real validation of arguments."""

    check_mode = True
    _diff = True
    given = None

    def __init__(self, argument_spec, supports_check_mode, **rules):
        validated = ArgumentSpecValidator(argument_spec, **rules).validate(copy.deepcopy(self.given))
        if validated.error_messages:
            raise Ended("error", "; ".join(validated.error_messages))
        self.params = validated.validated_parameters

    def warn(self, warning):
        pass

    def fail_json(self, msg, **_result):
        raise Ended("error", msg)

    def exit_json(self, **result):
        raise Ended("result", result)


class FakeHost:
    """Programs of a host with one link. It keeps what they are given."""

    def __init__(self):
        self.seen = []

    def __call__(self, command, text):
        self.seen.append((list(command), text))
        words = " ".join(command)
        if "address show" in words:
            return 0, json.dumps(LINKS), ""
        if "route get" in words:
            return 0, json.dumps([{"dst": command[-1], "dev": "eth0"}]), ""
        if "-json" in command:
            return 0, "[]", ""
        if command[0] == "nft":
            return 1, "", "No such file or directory"
        return 0, "", ""

    def together(self, jobs):
        return [self(*job) for job in jobs]


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Call a module, and return ``error`` or ``result``, the error or the result, and the inputs of programs."""
    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(probe, "probe", lambda *_arguments: ProbeResult(0, {}, [], [], []))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)

    def called(module, given):
        host = FakeHost()
        monkeypatch.setattr(_module, "runner", lambda: host)
        monkeypatch.setattr(FakeModule, "given", given)
        with pytest.raises(Ended) as ended:
            importlib.import_module(f"ansible_collections.tke.overlay.plugins.modules.{module}").main()
        return (*ended.value.args, host.seen)

    return called


def texts_of(spec, given, path=()):
    """Yield the path of every text in the arguments of a module."""
    for name, option in spec.items():
        here, value = (*path, name), given.get(name)
        if name not in given or option.get("choices"):
            continue
        if option.get("options"):
            for number, each in enumerate(value if option["type"] == "list" else [value]):
                yield from texts_of(option["options"], each, (*here, number) if option["type"] == "list" else here)
        elif option["type"] == "dict":
            yield from ((*here, "key"), (*here, "value"))
        elif option["type"] == "list":
            yield (*here, 0)
        elif option["type"] in ("str", "path"):
            yield here
    if "fleet" in given:
        yield from ((*path, "fleet", field) for field in ("name", "node_cidr", "underlay"))


def replaced(given, path, text):
    """Return the arguments with another text at the path."""
    changed = copy.deepcopy(given)
    place = changed
    for step in path[:-1]:
        place = place[step] if step != "fleet" else place
    last = path[-1]
    if last in ("key", "value"):
        first = next(iter(place))
        value = place.pop(first)
        place[text if last == "key" else first] = value if last == "key" else text
    elif "fleet" in path[:-1]:
        words = ["c", "10.244.2.0/24", "10.0.1.3"]
        words[("name", "node_cidr", "underlay").index(last)] = text
        place["fleet"] += " ".join(words) + "\n"
    else:
        place[last] = text
    return changed


def argument_spec(module):
    """Return the argument specification that a module passes to ``AnsibleModule``."""
    found = {}

    class Recorder(FakeModule):
        def __init__(self, argument_spec, **rules):
            found.update(argument_spec)
            raise Ended("recorded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_module, "AnsibleModule", Recorder)
        with pytest.raises(Ended):
            importlib.import_module(f"ansible_collections.tke.overlay.plugins.modules.{module}").main()
    return found


def all_texts(spec, path=()):
    """Yield the path, without numbers, of every text that a module takes."""
    for name, option in spec.items():
        if option.get("choices"):
            continue
        if option.get("options"):
            yield from all_texts(option["options"], (*path, name))
        elif option["type"] in ("str", "path", "dict") or option.get("elements") in ("str", "path"):
            yield (*path, name)


def structure(seen, result):
    """Return the shape of everything that a call has passed to programs or would write: words and lines."""
    programs = [(len(command), text and [len(line.split()) for line in text.split("\n")]) for command, text in seen]
    diffs = [(each["after_header"], len(each["after"].splitlines())) for each in result.get("diff", ())]
    return sorted(map(repr, programs)), sorted(diffs)


MODULES = sorted({module for module, _given in CALLS})


@pytest.mark.parametrize("module", MODULES)
def test_the_calls_cover_every_text_option(module):
    calls = [given for name, given in CALLS if name == module]
    spec = argument_spec(module)
    covered = {
        tuple(step for step in path if isinstance(step, str) and step not in ("key", "value"))
        for given in calls
        for path in texts_of(spec, given)
    }
    wanted = set(all_texts(spec)) - {(option,) for name, option in NOT_USED if name == module}
    assert wanted - covered == set()


@pytest.mark.parametrize(("module", "given"), CALLS, ids=[f"{number}-{call[0]}" for number, call in enumerate(CALLS)])
def test_hostile_text_is_an_error_or_stays_data(module, given, call):
    kind, harmless, seen = call(module, given)
    usual = structure(seen, harmless) if kind == "result" else None
    faults = []
    paths = [path for path in texts_of(argument_spec(module), given) if path != ("ca",)]
    for path in paths:
        option = next(step for step in reversed(path) if isinstance(step, str))
        unset = argument_spec(module)[path[0]].get("default") == "" and len(path) == 1
        for what, text in HOSTILE.items():
            if text == "" and unset:
                continue  # as without the option
            kind, found, seen = call(module, replaced(given, path, text))
            where = f"{module} {path} {what}: "
            if kind == "error":
                words = ERRORS.get(option, [option]) if (module, path[0]) not in NOT_USED else [""]
                if not any(word in found for word in words):
                    faults.append(f"{where}no {words} in {found[:300]!r}")
                if len(found) > 1500 or not found.replace("\n", "").isprintable():
                    faults.append(f"{where}unreadable error {found[:200]!r} ({len(found)})")
            elif (module, path[0]) not in NOT_USED and structure(seen, found) != usual:
                faults.append(f"{where}another structure")
    assert not faults, "\n".join(faults)


def test_the_cluster_name_stays_one_quoted_line(call):
    """The only free text of a document: it reaches the file ``summary``, which programs of the host read by lines."""
    name = "a 'quoted' \"$(name)\" {{ x }} %n; # </script>"
    _kind, result, _seen = call("node", {"name": "a", "document": {**DOCUMENT, "cluster": name}})
    after = {each["after_header"]: each["after"] for each in result["diff"]}
    assert f"cluster: {name}\n" in after["/etc/tke-overlay/summary"]
    assert shlex.split(after["/etc/tke-overlay/settings"], comments=True)[0] == "device=tke0"
