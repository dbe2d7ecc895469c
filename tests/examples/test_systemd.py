"""The systemd unit as shipped: systemd's own judgement of it, and its commands run as systemd would."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from agent.instruments import resource
from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.examples.conftest import EXAMPLES
from tests.lab import PATIENCE, AgentProcess, Observer, settings, unit

SYSTEMD = EXAMPLES / "systemd"
SERVICE = SYSTEMD / "psu-agent.service"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian, Ubuntu: systemd)"
)


def settings_of(file: Path) -> dict[str, list[str]]:
    """What a unit file sets, key by key."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def installed(psu_agent: Path, tmp_path: Path) -> Path:
    """The unit with its drop-in, as installed, but for where the program is."""
    folder = tmp_path / "units"
    shutil.copytree(SYSTEMD / "psu-agent.service.d", folder / "psu-agent.service.d")
    file = folder / "psu-agent.service"
    file.write_text(SERVICE.read_text().replace("/opt/psu-agent/bin/psu-agent", str(psu_agent / "psu-agent")))
    return file


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "SYSTEMD_COLORS": "0"}
    )


@needs_analyze
def test_systemd_finds_no_fault(installed: Path) -> None:
    done = analyze("verify", "--man=no", installed)
    assert done.returncode == 0, done.stderr
    assert "psu-agent" not in done.stderr


@needs_analyze
def test_systemd_would_find_a_fault_in_unit_and_drop_in(installed: Path) -> None:
    drop_in = installed.parent / "psu-agent.service.d" / "devices.conf"
    drop_in.write_text(drop_in.read_text() + "\nNoSuchSetting=yes\n")
    assert "NoSuchSetting" in analyze("verify", "--man=no", installed).stderr


@needs_analyze
@pytest.mark.parametrize(("drop_in", "most"), [(False, 15), (True, 25)])
def test_it_has_few_rights(installed: Path, drop_in: bool, most: int) -> None:
    """systemd's figure for exposure in tenths: 15 is 1.5 of 10, where a service without any of it has 9.6."""
    if not drop_in:
        shutil.rmtree(installed.parent / "psu-agent.service.d")
    done = analyze("security", "--offline=true", f"--threshold={most}", installed)
    assert done.returncode == 0, done.stdout


def test_its_commands_do_what_it_says(
    broker: LocalBroker, psu_agent: Path, tmp_path: Path, environment: Callable[..., dict[str, str]]
) -> None:
    """Started, watched, reloaded and stopped as Type=notify, WatchdogSec, ExecReload and SIGTERM ask for."""
    file = tmp_path / "psu-agent.yaml"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt").write_text("secret\n")
    unit_file = settings_of(SERVICE)
    simulators = [Simulator().start() for _ in range(2)]
    data = settings(broker.port, [unit("psu1", simulators[0])], tmp_path / "unused")
    del data["settings"]["state_dir"]
    data["settings"]["mqtt"] |= {"username": "psu", "password_file": "${CREDENTIALS_DIRECTORY}/mqtt"}
    file.write_text(yaml.safe_dump(data))

    def command(line: str, **variables: object) -> list[str]:
        line = line.replace("/opt/psu-agent/bin/psu-agent", str(psu_agent / "psu-agent"))
        line = line.replace("/etc/psu-agent/psu-agent.yaml", str(file))
        return [re.sub(r"\$(\w+)", lambda match: str(variables[match[1]]), word) for word in shlex.split(line)]

    def reload(main: int) -> bool:
        """Whether all of ExecReload's commands did well; the first that does not is the last."""
        for line in unit_file["ExecReload"]:
            if subprocess.run(command(line, MAINPID=main), env=variables, capture_output=True, timeout=60).returncode:
                return False
        return True

    observer = Observer(broker.port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)

        def told(start: str) -> str:
            while not (message := manager.recv(4096).decode()).startswith(start):
                assert message == "WATCHDOG=1", message
            return message

        variables = environment(
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="400000",
            STATE_DIRECTORY=str(tmp_path / "state"),
            CREDENTIALS_DIRECTORY=str(credentials),
        )
        # Without the shell between: systemd sends its signals to the process that it started.
        with subprocess.Popen(command(unit_file["ExecStart"][0]), env=variables, stderr=subprocess.DEVNULL) as process:
            try:
                assert told("READY=1") == "READY=1"
                told("WATCHDOG=1")
                observer.wait_online("psu1")
                data["units"].append(unit("psu2", simulators[1]))
                file.write_text(yaml.safe_dump(data))
                assert reload(process.pid)
                told("RELOADING=1")
                told("READY=1")
                observer.wait_online("psu2")
                file.write_text("units: nonsense\n")
                assert not reload(process.pid)
                told("WATCHDOG=1")
                process.send_signal(signal.SIGTERM)
                told("STOPPING=1")
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()
        with subprocess.Popen(command(unit_file["ExecStart"][0]), env=variables, stderr=subprocess.DEVNULL) as process:
            assert str(process.wait(PATIENCE)) in unit_file["RestartPreventExitStatus"]
    assert list((tmp_path / "state").iterdir())
    observer.close()
    for simulator in simulators:
        simulator.stop()


#: PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: the kernel's own form of MemoryDenyWriteExecute, from 6.3 on.
_NO_NEW_CODE = "import ctypes\nassert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n"


def test_it_needs_no_memory_that_is_writable_and_executable(broker: LocalBroker, tmp_path: Path) -> None:
    probe = subprocess.run([shutil.which("python3") or "python3", "-c", _NO_NEW_CODE], capture_output=True, timeout=60)
    if probe.returncode:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert settings_of(SERVICE)["MemoryDenyWriteExecute"] == ["yes"]
    observer = Observer(broker.port)
    simulator = Simulator(hislip_port=0).start()
    data = settings(broker.port, [unit("psu1", simulator)], tmp_path / "state")
    process = AgentProcess(data, tmp_path)
    try:
        process.start(before=_NO_NEW_CODE)
        observer.wait_online("psu1")
        assert observer.ask("psu/psu1/1/set", {"voltage_limit": 1})["ok"]
    finally:
        process.kill()
        observer.close()
        simulator.stop()


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_the_group_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "psu-agent.sysusers.conf")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert any(line.startswith("psu-agent:") for line in (tmp_path / "etc" / "group").read_text().splitlines())
    assert settings_of(SYSTEMD / "psu-agent.service.d" / "devices.conf")["SupplementaryGroups"] == ["psu-agent"]


RULES = SYSTEMD / "70-psu-agent.rules"
_TOKEN = re.compile(r'([A-Z]+(?:\{[\w./-]+\})?)\s*(==|!=|\+=|-=|:=|=)\s*"([^"]*)"\s*')
_MATCHES = {"SUBSYSTEM", "KERNEL", "ENV", "ATTR", "ATTRS"}
_ASSIGNMENTS = {"MODE", "GROUP", "TAG", "SYMLINK"}


def rules() -> list[list[tuple[str, str, str]]]:
    """Every rule, those that are commented out as examples as well, as (key, operator, value)."""
    found = []
    for line in RULES.read_text().splitlines():
        if not re.match(r"#?[A-Z]+==", line):
            assert not line or line.startswith("# "), line
            continue
        rest, rule = line.lstrip("#"), []
        while rest:
            match = _TOKEN.match(rest)
            assert match, f"no udev rule from here on: {rest}"
            rule.append((match[1], match[2], match[3]))
            rest = rest[match.end() :].removeprefix(",").lstrip()
        found.append(rule)
    return found


def test_udev_rules_are_well_formed() -> None:
    found = rules()
    assert len(found) == 3
    for rule in found:
        for key, operator, _ in rule:
            name = key.partition("{")[0]
            assert (name in _MATCHES and operator == "==") or (name in _ASSIGNMENTS and operator in ("=", "+=")), key
        assert ("GROUP", "=", "psu-agent") in rule


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="udevadm is not installed (Debian, Ubuntu: udev)")
def test_udev_finds_no_fault() -> None:
    version = subprocess.run(["udevadm", "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    if int(version.split()[0]) < 254:
        pytest.skip(f"udevadm {version} can't verify rules yet, 254 can")
    subprocess.run(["udevadm", "verify", "--no-style", str(RULES)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("interfaces", "is_usbtmc"),
    [
        (":fe0301:", True),  # USB488
        (":fe0300:", True),
        (":020201:fe0301:", True),
        (":fe0101:", False),  # firmware upgrade, of the same class
        (":ff0301:", False),
        (":080650:", False),
    ],
)
def test_usbtmc_is_known_by_its_class(interfaces: str, is_usbtmc: bool) -> None:
    """``ID_USB_INTERFACES`` as udev's usb_id makes it: class, subclass, protocol of each interface."""
    pattern = next(value for key, _, value in rules()[0] if key == "ENV{ID_USB_INTERFACES}")
    assert fnmatch.fnmatchcase(interfaces, pattern) is is_usbtmc


def test_the_name_of_a_serial_port_is_an_address() -> None:
    link = next(value for key, _, value in rules()[2] if key == "SYMLINK")
    resource.parse(f"ASRL/dev/{link}::INSTR")
