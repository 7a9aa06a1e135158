"""The container files: as confined as the units, as far as containers go. Nothing is built here."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.systemd.units import SHIPPED, values

FOLDER = SHIPPED / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
INSTRUCTIONS = {
    *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME"),
    *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continuation lines joined, comments dropped."""
    lines = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.partition(" ") for line in lines.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in found]


@pytest.mark.parametrize("name", ["serve", "sync"])
def test_every_container_is_confined(name: str) -> None:
    """A read-only file system, no capability, no privilege to gain, no root, bounded use."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", service["user"])
    assert all("noexec" in mount and "size=" in mount for mount in service["tmpfs"])
    assert service["ulimits"]["core"] == 0
    assert service["pids_limit"] <= 256
    assert service["mem_limit"]
    assert service["init"] is True
    for forbidden in ("privileged", "cap_add", "devices", "ports", "pid", "userns_mode"):
        assert forbidden not in service


def test_daemon_has_no_network_and_sync_has_its_own() -> None:
    """They meet on a socket in a shared volume; sync never sees the daemon's files."""
    assert SERVICES["serve"]["network_mode"] == "none"
    assert "network_mode" not in SERVICES["sync"]
    places = {name: {v.split(":")[0] for v in SERVICES[name]["volumes"]} for name in SERVICES}
    assert places["serve"] & places["sync"] == {"run", "./etc"}
    assert all(v.endswith(":ro") for s in SERVICES.values() for v in s["volumes"] if "/etc" in v)
    assert set(COMPOSE["volumes"]) == (places["serve"] | places["sync"]) - {"./etc"}


def test_sync_waits_to_be_asked_for() -> None:
    """Nothing leaves a box by default; the token is a file, not a variable."""
    assert SERVICES["sync"]["profiles"] == ["sync"]
    assert "profiles" not in SERVICES["serve"]
    assert SERVICES["sync"]["environment"]["CREDENTIALS_DIRECTORY"] == "/run/secrets"
    assert "token" not in str(SERVICES["sync"]["environment"]).lower()


def test_admins_group_is_the_same_on_both_sides() -> None:
    """Else sync could not open admin.sock, which only that group may."""
    environment = dict(re.findall(r"(\w+)=(\S+)", dict(instructions())["ENV"]))
    group = environment["INTENTD_ADMIN_SOCKET_GROUP"]
    assert SERVICES["serve"]["group_add"] == [group]
    assert SERVICES["sync"]["user"].split(":")[1] == group


def test_containers_stop_as_patiently_as_the_unit() -> None:
    """Requests in flight finish before Docker kills."""
    patience = values(SHIPPED / "intentd.service", "TimeoutStopSec")[0]
    assert SERVICES["serve"]["stop_grace_period"] == patience
    assert ("STOPSIGNAL", "SIGTERM") in instructions()


def test_dockerfile_is_well_formed_and_ends_as_nobody() -> None:
    """Known instructions only; exec form, so that signals arrive; the user before the command."""
    words = [word for word, _ in instructions()]
    assert set(words) <= INSTRUCTIONS
    facts = dict(instructions())
    assert facts["USER"] == SERVICES["serve"]["user"]
    assert words.index("USER") < words.index("ENTRYPOINT")
    for word in ("ENTRYPOINT", "CMD", "VOLUME"):
        assert facts[word].startswith('["'), word
    assert 'CMD ["intentd", "status"' in facts["HEALTHCHECK"]
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    assert len(set(bases)) == 1  # the environment is copied, so both must hold the same Python


def test_every_place_that_is_mounted_exists_in_the_image_with_its_owner() -> None:
    """A new volume takes mode and owner from the image; made by Docker it would be root's."""
    run = dict(instructions())["RUN"]
    made = {path: how for how, path in re.findall(r"install -d (.*?) (/[\w/-]+)(?: |$)", run)}
    for service in SERVICES.values():
        for volume in service["volumes"]:
            assert volume.split(":")[1] in made, volume
    assert "-m 0700" in made["/var/lib/intentd"]
