"""The unit files: valid, as strict as claimed, and each line of the confinement has its reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge.service_units import SHIPPED_EXECUTABLE
from edge.settings import Settings
from tests.daemons import ROOT
from tests.systemd.units import SHIPPED, analyze, directives, needs, values

UNITS = sorted(
    path for path in SHIPPED.iterdir() if path.suffix in (".service", ".socket", ".timer")
)
SERVE, SYNC = SHIPPED / "intentd.service", SHIPPED / "intentd-sync.service"
COLLECT = SHIPPED / "intentd-collect.service"
PLAIN = SHIPPED / "plain" / "intentd.service"
REASONS = (ROOT / "docs" / "service.md").read_text("utf-8")

# The exposure that `systemd-analyze security` computes rises with some of these, and says nothing
# of others, so each is asserted by itself.
CONFINEMENT = {
    "AmbientCapabilities": "",
    "CapabilityBoundingSet": "",
    "DevicePolicy": "closed",
    "DynamicUser": "yes",
    "KeyringMode": "private",
    "LimitCORE": "0",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateIPC": "yes",
    "PrivateMounts": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "StateDirectoryMode": "0700",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
}
WITHOUT_NETWORK = {
    "IPAddressDeny": "any",
    "PrivateNetwork": "yes",
    "RestrictAddressFamilies": "AF_UNIX",
    "SocketBindDeny": "any",
}
# Source: the man pages of systemd 219, which ignores any other line.
KNOWN_TO_219 = {
    *("CapabilityBoundingSet", "CPUShares", "DevicePolicy", "Environment", "ExecReload"),
    *("ExecStart", "Group", "LimitCORE", "LimitNOFILE", "NoNewPrivileges", "NotifyAccess"),
    *("OOMScoreAdjust", "PrivateDevices", "PrivateNetwork", "PrivateTmp", "ProtectHome"),
    *("ProtectSystem", "Restart", "RestartPreventExitStatus", "RestartSec"),
    *("RestrictAddressFamilies", "RuntimeDirectory", "RuntimeDirectoryMode", "StartLimitBurst"),
    *("StartLimitInterval", "SupplementaryGroups", "SystemCallArchitectures", "TimeoutStartSec"),
    *("TimeoutStopSec", "Type", "UMask", "User", "WatchdogSec"),
}


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """The units in one directory, with programs that are on every machine."""
    for unit in UNITS:
        text = re.sub(rf"{SHIPPED_EXECUTABLE}(-collect)?", "/bin/true", unit.read_text("utf-8"))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@needs("systemd-analyze")
def test_systemd_finds_nothing_to_say(placed: Path) -> None:
    """An unknown key or a bad value is only a line on stderr; the exit code stays 0."""
    done = analyze("verify", "--man=no", *(str(placed / unit.name) for unit in UNITS))
    assert done.stderr == ""


@needs("systemd-analyze")
def test_systemd_says_something_of_a_bad_line(placed: Path) -> None:
    """The test above would see it."""
    unit = placed / "intentd.service"
    unit.write_text(unit.read_text("utf-8").replace("PrivateTmp=", "PrivateTemp="))
    assert "PrivateTemp" in analyze("verify", "--man=no", str(unit)).stderr


@needs("systemd-analyze")
@pytest.mark.parametrize(("unit", "highest"), [(SERVE, 0.5), (SYNC, 1.2), (COLLECT, 1.2)])
def test_exposure_is_low(placed: Path, unit: Path, highest: float) -> None:
    """Well below what systemd's own daemons reach (1.5 to 4.3, version 252)."""
    threshold = str(int(highest * 10))  # it counts in tenths
    path = str(placed / unit.name)
    done = analyze("security", "--offline=true", f"--threshold={threshold}", path, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", [SERVE, SYNC, COLLECT], ids=lambda unit: unit.stem)
def test_every_directive_of_the_confinement_is_there(unit: Path) -> None:
    """Once each, with the strictest value."""
    found = {name: values(unit, name) for name in CONFINEMENT}
    assert found == {name: [value] for name, value in CONFINEMENT.items()}
    assert values(unit, "SystemCallFilter") == ["@system-service", "~@privileged @resources"]


def test_daemon_has_no_network_and_sync_no_state_of_the_daemon() -> None:
    """Texts and the network never meet in one process, but for what sync takes from the outbox."""
    assert {name: values(SERVE, name) for name in WITHOUT_NETWORK} == {
        name: [value] for name, value in WITHOUT_NETWORK.items()
    }
    assert values(SYNC, "StateDirectory") != values(SERVE, "StateDirectory")
    assert values(SYNC, "User") != values(SERVE, "User")


def test_daemon_still_reads_what_its_arithmetic_depends_on() -> None:
    """`ProcSubset=pid` would hide /proc/cpuinfo, by which the CPU that overflows int8 is known."""
    assert values(SERVE, "ProcSubset") == []
    assert values(SYNC, "ProcSubset") == ["pid"]


@pytest.mark.parametrize("unit", [SERVE, SYNC], ids=lambda unit: unit.stem)
def test_each_directive_has_its_reason_on_the_page(unit: Path) -> None:
    """docs/service.md has a row for every line of [Service], and none for what is not there."""
    explained = set(re.findall(r"`(\w+)=", REASONS))
    assert {name for name, _ in directives(unit)} <= explained
    everywhere = {name for one in UNITS for name, _ in directives(one)}
    rows = set(re.findall(r"^\| `(\w+)=", REASONS, re.MULTILINE))
    assert rows <= everywhere


def test_plain_unit_holds_only_what_an_old_systemd_obeys() -> None:
    """A line that is ignored would be a promise that nobody keeps."""
    assert {name for name, _ in directives(PLAIN)} <= KNOWN_TO_219
    for name in ("PrivateNetwork", "NoNewPrivileges", "RestrictAddressFamilies"):
        assert values(PLAIN, name) == values(SERVE, name)


def test_drain_ends_before_systemd_loses_patience() -> None:
    """Otherwise requests in flight are killed at a restart."""
    for unit in (SERVE, PLAIN):
        assert (
            float(values(unit, "TimeoutStopSec")[0].rstrip("s")) > Settings().drain_timeout_s + 10
        )


def test_sockets_are_for_their_groups_alone() -> None:
    """Apps and administrators are told apart by file permission, which systemd sets."""
    for name, group in (("intentd", "intentd"), ("intentd-admin", "intentd-admin")):
        facts = dict(directives(SHIPPED / f"{name}.socket", "Socket"))
        assert (facts["SocketMode"], facts["SocketGroup"]) == ("0660", group)
        assert not facts["ListenStream"].startswith(
            "@"
        )  # abstract: no permissions, no PrivateNetwork
        assert f" {group} " in (SHIPPED / "intentd.sysusers").read_text("utf-8")
    assert "u     intentd " in (SHIPPED / "intentd.sysusers").read_text("utf-8")


def test_boxes_of_a_fleet_sync_at_different_minutes() -> None:
    """Spread over the hour, the same minute for the same box, and no write to a sleeping disk."""
    facts = dict(directives(SHIPPED / "intentd-sync.timer", "Timer"))
    assert facts == {
        "OnCalendar": "hourly",
        "RandomizedDelaySec": "55min",
        "FixedRandomDelay": "yes",
        "AccuracySec": "1s",
    }


def test_token_is_in_no_environment_and_no_command_line() -> None:
    """It is handed over as a file that this unit alone can read."""
    assert values(SYNC, "LoadCredential") == ["sync-token:/etc/intentd/sync-token"]
    for name in ("Environment", "ExecStart"):
        assert not any("token" in value.lower() for value in values(SYNC, name))


@needs("systemd-analyze")
def test_what_remains_exposed_is_known(placed: Path) -> None:
    """A new systemd that weighs something new shows it here by name, not only in the number."""
    path = str(placed / "intentd.service")
    report = json.loads(analyze("security", "--offline=true", "--json=short", path).stdout)
    bad = {row["json_field"] for row in report if row["set"] is False and row["exposure"]}
    assert bad <= {
        "RootDirectoryOrRootImage",  # the program lies in the system's own tree
        "RestrictAddressFamilies_AF_UNIX",  # it answers on Unix sockets
        "ProcSubset",  # /proc/cpuinfo
        "DeviceAllow",  # ProtectClock= adds the clock, for reading
    }


def test_sizing_table_follows_its_formula() -> None:
    """Each row that is called an estimate is what the formula above it gives, to two digits."""
    page = (ROOT / "docs" / "nas.md").read_text("utf-8")
    products = {
        "AVX-512 VNNI": 64,
        "AVX-VNNI": 32,
        "ARM with dot product": 16,
        "AVX2 without VNNI": 16,
        "no AVX": 5,
        "ARM without dot product": 4,
    }
    rows = re.findall(
        r"^\| ([^|]+) \|[^|]+\| (\d) × ([\d.]+) \| ([\d.]+) ms \| ([\d.]+) s", page, re.M
    )
    assert [name for name, *_ in rows] == list(products)
    for name, cores, clock, starter_ms, bart_s in rows:
        slower = 64 * 2.6 * 2 / (products[name] * float(clock) * int(cores))
        assert float(starter_ms) == pytest.approx(3.5 * slower, rel=0.05), name
        assert float(bart_s) == pytest.approx(0.227 * slower, rel=0.05), name
