"""The driver of an external unit alone: programs on disk, no worker and no broker."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.instruments.driver import DriverError, Identity, IdentityError, LinkError, MalformedAnswerError, Range, Write
from agent.instruments.external.driver import ExternalDriver
from tests.instruments.external.programs import LAB, RELAY, Programs


@dataclass
class Commands:
    get_channels: Sequence[str]
    ping: Sequence[str] | None = None
    set: Sequence[str] | None = None
    timeout: float = 20.0
    output_limit: int = 65536
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Channel:
    name: str | None = None
    voltage_max: float | None = None
    current_max: float | None = None


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def make(
    programs: Programs,
    *,
    serial: str | None = None,
    channels: dict[int, Channel] | None = None,
    settable: bool = True,
    setter: str | None = None,
    **more: Any,
) -> ExternalDriver:
    program = str(programs.program)
    commands = Commands(
        get_channels=[program, "get"],
        ping=[program, "ping"],
        set=[setter or program, "set", "{channel}", "{field}", "{value}"] if settable else None,
        **more,
    )
    return ExternalDriver(commands, name="ext", folder=programs.folder, serial=serial, channels=channels)


def never() -> bool:
    return False


def test_what_it_is_and_has(programs: Programs) -> None:
    programs.write(channels={"manufacturer": "Acme", "model": "R8", "serial": "17", "channels": [RELAY, LAB]})
    driver = make(programs, serial="17", channels={2: Channel(current_max=2.0)})
    assert driver.address == "external:ext:supply"
    assert (driver.expected.model, driver.expected.outputs, driver.expected.identity) == ("external", (), None)
    profile = driver.connect()
    assert (profile.model, profile.effort) == ("R8", "two programs")
    assert profile.identity is not None
    assert (profile.identity.manufacturer, profile.identity.serial) == ("Acme", "17")
    relay, lab = profile.outputs
    assert (relay.index, relay.name, relay.range("voltage_limit")) == (1, "RELAY", None)
    assert relay.settings == {"state"}
    assert (lab.name, lab.range("voltage_limit"), lab.range("current_limit")) == ("LAB", Range(0, 30), Range(0, 2))
    assert lab.settings == {"state", "voltage_limit", "current_limit"}
    (unlimited,) = make(programs).connect().outputs[1:]
    assert unlimited.settings == lab.settings
    assert unlimited.range("current_limit") is None
    assert (lab.voltage_rating, lab.current_rating) == (30, None)
    readings = driver.poll(never)
    assert readings is not None
    assert (readings[1].current, readings[1].state, readings[1].mode) == (0.25, False, "OFF")
    driver.close()
    driver.close()


def test_switches_that_it_tells_can_be_set(programs: Programs) -> None:
    programs.write(channels=[RELAY | {"current_protection": False, "tripped": None}])
    (output,) = make(programs).connect().outputs
    assert output.settings == {"state", "current_protection", "clear_protection"}


def test_without_set_there_are_no_settings(programs: Programs) -> None:
    driver = make(programs, settable=False)
    assert all(output.settings == set() and output.ranges == {} for output in driver.connect().outputs)
    with pytest.raises(LinkError):
        driver.write(Write("state", (1,), True))


def test_a_setting_is_one_program_for_each_channel(programs: Programs) -> None:
    driver = make(programs)
    driver.connect()
    driver.write(Write("state", (1, 2), True))
    driver.write(Write("voltage_limit", (2,), 3.3))
    assert programs.runs("set") == ["set 1 state 1", "set 2 state 1", "set 2 voltage_limit 3.3"]
    inspection = driver.inspect((2,))
    assert (inspection.complaints, inspection.bars) == ([], [])
    assert inspection.readings[2].voltage_limit == 3.3


def test_a_refusal_is_a_complaint_and_stops_no_other_channel(programs: Programs) -> None:
    driver = make(programs)
    driver.connect()
    programs.fault("set", "if arguments[0] == '1': sys.exit('stuck')")
    driver.write(Write("state", (1, 2), True))
    assert programs.channel(2)["state"] is True
    assert driver.complaints() == ["set failed for channel 1 (exit status 1: stuck)"]
    assert driver.complaints() == []


def test_an_off_reaches_the_channels_behind_one_that_hangs(programs: Programs) -> None:
    on = {"state": True}
    programs.write(channels=[RELAY | on, LAB | on, RELAY | on | {"index": 3, "name": "FAN"}])
    driver = make(programs, timeout=3.0)
    driver.connect()
    programs.fault("set", "if arguments[0] == '1': time.sleep(600)")
    with pytest.raises(LinkError, match=r"supply did not end within 3 s and was killed"):
        driver.write(Write("state", (1, 2, 3), False))
    assert [programs.channel(index)["state"] for index in (1, 2, 3)] == [True, False, False]
    # The outcome is uncertain: only a connection brings it back.
    with pytest.raises(LinkError):
        driver.poll(never)
    programs.write(faults={})
    driver.connect()
    assert driver.poll(never)


def test_an_off_does_not_wait_for_the_end_of_one_that_hangs(programs: Programs) -> None:
    """That of channel 1 ends only when the others have been tried; else it is killed."""
    on = {"state": True}
    programs.write(channels=[RELAY | on, LAB | on, RELAY | on | {"index": 3, "name": "FAN"}])
    driver = make(programs, timeout=20.0)
    driver.connect()
    waits = "while 'set 3 state 0' not in open(place + '.log').read(): time.sleep(0.05)"
    programs.fault("set", f"if arguments[0] == '1':\n    {waits}\n    sys.exit('late')")
    driver.write(Write("state", (1, 2, 3), False))
    assert [programs.channel(index)["state"] for index in (1, 2, 3)] == [True, False, False]
    assert driver.complaints() == ["set failed for channel 1 (exit status 1: late)"]


@pytest.mark.parametrize(
    "fault",
    [
        "sys.exit('stuck')",
        "os.kill(os.getpid(), 9)",
        "os.kill(os.getpid(), 11)",
        "print('x' * 100_000)",
        "os.close(1); os.close(2); time.sleep(600)",
        "raise RuntimeError('a traceback')",
    ],
)
def test_an_off_reaches_the_channels_behind_one_that_fails(programs: Programs, fault: str) -> None:
    on = {"state": True}
    programs.write(channels=[RELAY | on, LAB | on, RELAY | on | {"index": 3, "name": "FAN"}])
    driver = make(programs, timeout=2.0)
    driver.connect()
    programs.fault("set", f"if arguments[0] == '1':\n    {fault}")
    with contextlib.suppress(LinkError):
        driver.write(Write("state", (1, 2, 3), False))
    assert [programs.channel(index)["state"] for index in (2, 3)] == [False, False]


def test_an_off_reaches_the_channels_behind_one_whose_program_is_not_there(programs: Programs) -> None:
    on = {"state": True}
    programs.write(channels=[RELAY | on, LAB | on])
    (programs.folder / "supply-2").symlink_to(programs.program)
    driver = make(programs, setter=str(programs.folder / "supply-{channel}"))
    driver.connect()
    with pytest.raises(LinkError, match="supply-1' can't be started"):
        driver.write(Write("state", (1, 2), False))
    assert programs.channel(2)["state"] is False


def test_one_that_finds_the_device_taken_by_one_that_is_slow_is_run_again(programs: Programs) -> None:
    """As a serial port is by the script for the channel before."""
    on = {"state": True}
    programs.write(channels=[RELAY | on, LAB | on])
    driver = make(programs, timeout=20.0)
    driver.connect()
    first = "open(place + '.taken', 'x')\n    while 'set 2' not in open(place + '.log').read(): time.sleep(0.05)"
    second = "os.path.exists(place + '.taken') and sys.exit('the port is taken')"
    waits = "time.sleep(0.3); os.remove(place + '.taken')"
    programs.fault("set", f"if arguments[0] == '1':\n    {first}\n    {waits}\nelse:\n    {second}")
    driver.write(Write("state", (1, 2), False))
    assert driver.complaints() == []
    assert [programs.channel(index)["state"] for index in (1, 2)] == [False, False]


def test_other_settings_are_made_one_after_another(programs: Programs) -> None:
    driver = make(programs, timeout=20.0)
    driver.connect()
    late = "time.sleep(1.3); assert 'set 2' not in open(place + '.log').read()"
    programs.fault("set", f"if arguments[0] == '1':\n    {late}")
    driver.write(Write("state", (1, 2), True))
    assert driver.complaints() == []


@pytest.mark.parametrize(
    "fault", ["print('no JSON: t0ps3cret'); sys.exit(0)", "sys.stdout.buffer.write(b'\\xff t0ps3cret'); sys.exit(0)"]
)
def test_what_get_channels_printed_is_shown_without_secrets(programs: Programs, fault: str) -> None:
    driver = make(programs, environment={"TOKEN": "t0ps3cret"})
    programs.fault("get", fault)
    with pytest.raises(DriverError, match="get_channels printed") as error:
        driver.connect()
    assert "t0ps" not in str(error.value)


def test_an_off_does_not_wait_for_a_poll_behind_its_ping(programs: Programs) -> None:
    driver = make(programs)
    driver.connect()
    asked = len(programs.runs("get"))
    assert driver.poll(lambda: True) is None
    assert len(programs.runs("get")) == asked
    assert driver.poll(never)


@pytest.mark.parametrize(
    ("answer", "arguments", "said"),
    [
        ({"serial": "18", "channels": [RELAY]}, {"serial": "17"}, "tells the serial number '18', not '17'"),
        ([RELAY], {"channels": {3: Channel()}}, "get_channels printed channels 1; the configuration has 3 besides"),
        ([RELAY, LAB], {"channels": {2: Channel(name="RELAY")}}, "two channels would have the same name: RELAY, RELAY"),
        ([RELAY, LAB | {"name": None}], {"channels": {1: Channel(name="CH2")}}, "the same name: CH2, CH2"),
    ],
)
def test_a_unit_that_the_configuration_does_not_fit(
    programs: Programs, answer: Any, arguments: dict[str, Any], said: str
) -> None:
    programs.write(channels=answer)
    driver = make(programs, **arguments)
    with pytest.raises(IdentityError, match=said) as error:
        driver.connect()
    assert error.value.identity is not None
    with pytest.raises(LinkError):
        driver.poll(never)


def test_other_channels_than_at_the_start_end_the_connection(programs: Programs) -> None:
    driver = make(programs)
    driver.connect()
    programs.write(channels=[RELAY])
    with pytest.raises(MalformedAnswerError, match="get_channels printed channels 1, before 1, 2"):
        driver.poll(never)
    with pytest.raises(LinkError):
        driver.poll(never)
    assert [output.index for output in driver.connect().outputs] == [1]


def test_another_unit_behind_the_programs_ends_the_connection(programs: Programs) -> None:
    """Which unit they speak to may change between two runs: its name may lead to another address."""
    programs.write(channels={"serial": "A1", "channels": [RELAY]})
    driver = make(programs)
    driver.connect()
    assert driver.poll(never)
    programs.write(channels={"serial": "B2", "channels": [RELAY]})
    with pytest.raises(IdentityError, match="tells of external 'B2' now"):
        driver.poll(never)
    with pytest.raises(LinkError):
        driver.write(Write("state", (1,), False))
    assert driver.connect().identity == Identity("external", "external", "B2", "")


def test_what_hangs_is_cut_short_when_the_agent_stops(programs: Programs) -> None:
    driver = make(programs, timeout=60.0)
    driver.connect()
    programs.fault("set", "time.sleep(600)")
    driver.hurry(0.1)
    with pytest.raises(LinkError, match="was killed, as the agent stops"):
        driver.write(Write("state", (1, 2), False))
