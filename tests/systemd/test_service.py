"""`intentd service`: what it writes, keeps and says, in a directory that stands for the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge.commands.service import service_app
from edge.errors import CannotStart, InvalidValue
from edge.service_plan import Request, Run, carry_out, plan_install, plan_uninstall
from edge.service_units import (
    Condition,
    Manager,
    check_executable,
    condition_of,
    find_executable,
    render,
    service_files,
    shipped_directory,
)
from tests.systemd.units import SHIPPED

PROGRAM = Path("/usr/bin/env")  # any program that is everywhere, and where units may run it
UNIT = "etc/systemd/system/intentd.service"

Service = Callable[..., Result]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Runs `intentd service COMMAND …` on a root directory of its own."""

    def run(command: str, *args: str) -> Result:
        options = ["--root", str(tmp_path), "--executable", str(PROGRAM), *args]
        return CliRunner().invoke(service_app, [command, *options])

    return run


def files_below(root: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_install_is_idempotent(service: Service, tmp_path: Path) -> None:
    """Twice is as once; the second time says that nothing was to do."""
    assert service("install").exit_code == 0
    first = files_below(tmp_path)
    second = service("install")
    assert (second.exit_code, second.stdout) == (0, "nothing to do\n")
    assert files_below(tmp_path) == first
    assert set(first) == {
        "etc/sysusers.d/intentd.conf",
        UNIT,
        "etc/systemd/system/intentd.socket",
        "etc/systemd/system/intentd-admin.socket",
        "etc/systemd/system/intentd-sync.service",
        "etc/systemd/system/intentd-sync.timer",
    }


def test_installed_units_are_the_shipped_ones_with_this_program(
    service: Service, tmp_path: Path
) -> None:
    """Nothing else differs but the last line, which says who wrote the file."""
    service("install")
    shipped = (SHIPPED / "intentd.service").read_text("utf-8")
    *lines, stamp = (tmp_path / UNIT).read_text("utf-8").splitlines()
    assert lines == shipped.replace("/opt/intentd/bin/intentd", str(PROGRAM)).splitlines()
    assert stamp.startswith("# intentd ")


def test_dry_run_writes_nothing_and_names_every_file(service: Service, tmp_path: Path) -> None:
    """What it prints is what install then does."""
    said = service("install", "--dry-run").stdout
    assert files_below(tmp_path) == {}
    assert service("install").stdout == said
    assert all(path in said for path in files_below(tmp_path))


def test_dry_run_names_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the machine itself, and for each kind of service manager."""
    monkeypatch.setattr("edge.service_plan._has_group", lambda name: False)
    for manager, expected in (
        (Manager.SYSTEMD, "systemctl enable --now intentd.socket intentd-admin.socket intentd.se"),
        (Manager.OLD_SYSTEMD, "systemctl enable intentd.service"),
        (Manager.INIT, "/etc/init.d/intentd start"),
    ):
        commands = [s for s in plan_install(Request(manager, PROGRAM)) if isinstance(s, Run)]
        assert any(expected in str(command) for command in commands), commands


def test_file_changed_by_hand_is_kept_and_named(service: Service, tmp_path: Path) -> None:
    """Exit code 1, and the way to do it right; the other files are installed all the same."""
    service("install")
    unit = tmp_path / UNIT
    unit.write_text(mine := unit.read_text("utf-8").replace("75%", "1G"))
    (tmp_path / "etc/systemd/system/intentd.socket").unlink()
    done = service("install")
    assert done.exit_code == 1
    assert unit.read_text("utf-8") == mine
    assert "changed by hand" in done.stdout
    assert "systemctl edit intentd.service" in done.stdout
    assert (tmp_path / "etc/systemd/system/intentd.socket").exists()


def test_replacing_a_changed_file_keeps_a_copy_and_says_so(
    service: Service, tmp_path: Path
) -> None:
    """Nothing that a person wrote is lost."""
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("# mine\n")
    done = service("install", "--replace")
    assert done.exit_code == 0
    assert "intentd.service.before-intentd" in done.stdout
    assert unit.with_name("intentd.service.before-intentd").read_text("utf-8") == "# mine\n"
    assert "ExecStart" in unit.read_text("utf-8")


def test_file_of_another_version_is_brought_up_to_date(service: Service, tmp_path: Path) -> None:
    """It is ours, whatever it says, as long as nobody touched it."""
    service("install")
    other = render(service_files(Manager.SYSTEMD)[3], Path("/opt/older/bin/intentd"))
    (tmp_path / UNIT).write_text(other)
    done = service("install")
    assert done.exit_code == 0
    assert f"{UNIT} (outdated)" in done.stdout


def test_uninstall_removes_all_but_what_was_changed(service: Service, tmp_path: Path) -> None:
    """Settings, state and drop-ins are not its to remove."""
    service("install")
    drop_in = tmp_path / f"{UNIT}.d" / "mine.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nMemoryMax=1G\n")
    (tmp_path / "etc/systemd/system/intentd.socket").write_text("# mine\n")
    done = service("uninstall")
    assert done.exit_code == 1
    assert set(files_below(tmp_path)) == {
        f"{UNIT}.d/mine.conf",
        "etc/systemd/system/intentd.socket",
    }
    assert service("uninstall", "--replace").exit_code == 0
    assert set(files_below(tmp_path)) == {f"{UNIT}.d/mine.conf"}
    assert "nothing to do" in service("uninstall").stdout


def test_status_tells_what_is_there_and_what_differs(service: Service, tmp_path: Path) -> None:
    """As JSON; 0 only if every file is as shipped."""
    assert service("status", "--json").exit_code == 1
    service("install")
    assert service("status", "--json").exit_code == 0
    (tmp_path / UNIT).write_text("# mine\n")
    (tmp_path / f"{UNIT}.d").mkdir()
    (tmp_path / f"{UNIT}.d" / "a.conf").write_text("[Service]\n")
    done = service("status")
    assert done.exit_code == 1
    assert "changed by hand" in done.stdout
    assert "a.conf" in done.stdout


def test_masked_unit_is_the_admins_will(service: Service, tmp_path: Path) -> None:
    """`systemctl mask` leaves a link; writing through it would hit /dev/null."""
    (tmp_path / UNIT).parent.mkdir(parents=True)
    (tmp_path / UNIT).symlink_to("/dev/null")
    assert service("install").exit_code == 1
    assert (tmp_path / UNIT).is_symlink()


def test_collector_is_installed_only_when_asked(service: Service, tmp_path: Path) -> None:
    """And then is updated and removed with the others."""
    collector = tmp_path / "etc/systemd/system/intentd-collect.service"
    service("install")
    assert not collector.exists()
    service("install", "--collector")
    assert f"ExecStart={PROGRAM}-collect serve" in collector.read_text("utf-8")
    service("uninstall")
    assert not collector.exists()


@pytest.mark.parametrize(
    ("manager", "path"), [("old-systemd", UNIT), ("init", "etc/init.d/intentd")]
)
def test_other_managers_get_their_own_file(
    service: Service, tmp_path: Path, manager: str, path: str
) -> None:
    """One file, which is executable where it must be."""
    service("install", "--manager", manager)
    assert list(files_below(tmp_path)) == [path]
    assert os.access(tmp_path / path, os.X_OK) == (manager == "init")


def test_program_that_the_unit_could_not_run_is_refused(tmp_path: Path) -> None:
    """In a home or in /tmp, which the unit hides; also when only its interpreter lies there."""
    script = tmp_path / "intentd"
    script.write_text("#!/home/me/python\n")
    script.chmod(0o755)
    for manager in (Manager.SYSTEMD, Manager.OLD_SYSTEMD):
        with pytest.raises(InvalidValue, match=r"/tmp|/home|/root"):
            check_executable(script, manager)
    with pytest.raises(InvalidValue, match="expected the absolute path"):
        check_executable(Path("intentd"), Manager.INIT)
    check_executable(PROGRAM, Manager.SYSTEMD)


def test_interpreter_behind_links_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment in /opt may still run a Python in somebody's home."""
    script = tmp_path / "intentd"
    (tmp_path / "python").symlink_to(sys.executable)
    script.write_text(f"#!{tmp_path / 'python'}\n")
    script.chmod(0o755)
    real = Path(sys.executable).resolve()
    monkeypatch.setattr("edge.service_units.HIDDEN_EVER", (str(real.parent),))
    with pytest.raises(InvalidValue, match=str(real)):
        check_executable(script, Manager.OLD_SYSTEMD)


def test_failing_command_says_which_and_that_it_is_safe_to_repeat() -> None:
    """The steps before it stand."""
    steps = [Run(("true",)), Run(("sh", "-c", "echo no such unit >&2; exit 5")), Run(("true",))]
    done = carry_out(steps)
    assert next(done) == steps[0]
    with pytest.raises(CannotStart, match=r"found 5: no such unit.*safe to run"):
        next(done)
    with pytest.raises(CannotStart, match="No such file"):
        list(carry_out([Run(("/nowhere/command",))]))


def test_only_what_was_there_before_is_restarted() -> None:
    """A first install starts once; an upgrade restarts, and closes sockets only if they changed."""
    request = Request(Manager.SYSTEMD, PROGRAM)
    from edge.service_plan import _start_commands

    def restarts(*replaced: str) -> list[str]:
        commands = (" ".join(argv) for argv in _start_commands(request, set(replaced)))
        return [command for command in commands if "restart" in command or "stop" in command]

    assert restarts() == []
    assert restarts("intentd.service") == ["systemctl try-restart intentd.service"]
    assert restarts("intentd.socket") == [
        "systemctl stop intentd.service",
        "systemctl try-restart intentd.socket",
    ]


def test_uninstall_stops_before_it_removes() -> None:
    """And does nothing at all where nothing is installed."""
    assert plan_uninstall(Request(Manager.SYSTEMD, PROGRAM, Path("/nowhere"))) == []


def test_shipped_files_are_found_and_each_is_used() -> None:
    """In the checkout as in a wheel; a file that no manager installs would be forgotten."""
    used = {f.source for manager in Manager for f in service_files(manager, with_collector=True)}
    there = {
        str(path.relative_to(shipped_directory()))
        for path in shipped_directory().rglob("*")
        if path.is_file() and "container" not in path.parts and path.name != "grafana.json"
    }
    assert used == there
    assert find_executable().name == "intentd"


def test_condition_of_binary_rubbish_is_changed(tmp_path: Path) -> None:
    """Whatever lies there, it is not ours."""
    (tmp_path / "unit").write_bytes(b"\xff\xfe")
    assert condition_of(tmp_path / "unit", "x") is Condition.CHANGED
