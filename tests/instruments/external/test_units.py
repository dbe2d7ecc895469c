"""Units of model ``external``: from programs on disk to topics and back, over a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.cli.check import check_unit
from agent.local.broker import LocalBroker
from tests.instruments.external.programs import LAB, RELAY, Programs
from tests.lab import Bench, wait_until


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def bench(broker: LocalBroker, programs: Programs, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(online: bool = True, **unit: Any) -> Bench:
        made = Bench(broker.port, tmp_path, [], [programs.unit(**unit)])
        benches.append(made)
        return made.start(online=False) if not online else _started(made)

    yield make
    for made in benches:
        made.close()


def _started(bench: Bench) -> Bench:
    bench.start(online=False)
    bench.observer.wait_online("ext")
    return bench


def test_channels_are_on_mqtt(bench: Callable[..., Bench]) -> None:
    lab = bench()
    state = lab.observer.wait_state("ext", 1)
    assert state["name"] == "RELAY"
    assert state["model"] == "external"
    assert (state["online"], state["state"], state["mode"]) == (True, False, "OFF")
    assert (state["voltage"], state["current"], state["voltage_limit"]) == (0.0, 0.25, None)
    info = lab.observer.wait("psu/ext/info", lambda info: info["online"])
    assert [channel["fields"] for channel in info["channels"]] == [
        ["state", "cycle"],
        ["state", "voltage_limit", "cycle", "ramp"],
    ]
    assert info["uri"] == "external:ext:supply"


def test_commands_go_the_same_way_as_any(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench(channels={2: {"voltage_max": 12, "current_max": 2}})
    response = lab.observer.ask("psu/ext/LAB/set", {"state": True, "voltage_limit": 5, "current_limit": 0.5})
    assert response["ok"], response
    assert programs.runs("set") == ["set 2 voltage_limit 5", "set 2 current_limit 0.5", "set 2 state 1"]
    assert response["result"]["voltage_limit"] == 5
    assert programs.channel(2)["state"] is True
    lab.observer.wait("psu/ext/2/event", lambda event: event["field"] == "state" and event["by"] == "command")
    code = lab.observer.code("psu/ext/2/set", {"voltage_limit": 12.5})
    assert code == "limit_exceeded"
    assert lab.observer.code("psu/ext/2/set", {"voltage_limit": -1}) == "out_of_range"
    assert lab.observer.ask("psu/ext/set", "OFF")["ok"]
    assert programs.runs("set")[3:] == ["set 1 state 0", "set 2 state 0"]


def test_a_setting_without_a_known_range_is_none(bench: Callable[..., Bench]) -> None:
    lab = bench()
    response = lab.observer.ask("psu/ext/2/set", {"current_limit": 0.5})
    assert response["error"]["code"] == "unsupported"
    assert response["error"]["message"] == (
        "channel 2 of ext has no current_limit whose range is known; give it a current_max in the configuration"
    )
    assert lab.observer.code("psu/ext/1/set", {"voltage_limit": 1}) == "unsupported"


def test_a_limit_that_can_not_be_seen_to_be_kept_keeps_the_output_off(
    bench: Callable[..., Bench], programs: Programs
) -> None:
    lab = bench(channels={1: {"voltage_max": 5}})
    response = lab.observer.ask("psu/ext/1/set", {"state": True})
    assert response["error"]["code"] == "limit_exceeded"
    assert "does not tell the voltage_limit" in response["error"]["message"]
    assert programs.runs("set") == []


def test_a_ramp_and_a_cycle(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench()
    assert lab.observer.ask("psu/ext/2/set", {"state": True, "voltage_limit": 2, "ramp": 4})["ok"]
    steps = [float(run.split()[-1]) for run in programs.runs("set") if "voltage_limit" in run]
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert steps[-1] == 2
    assert len(steps) > 2
    assert lab.observer.ask("psu/ext/2/set", {"cycle": 0.05})["ok"]
    assert [run for run in programs.runs("set") if "state" in run][-2:] == ["set 2 state 0", "set 2 state 1"]


def test_without_set_it_can_only_be_watched(broker: LocalBroker, programs: Programs, tmp_path: Path) -> None:
    unit = programs.unit()
    del unit["commands"]["set"]
    lab = Bench(broker.port, tmp_path, [], [unit]).start(online=False)
    try:
        lab.observer.wait_state("ext", 1)
        response = lab.observer.ask("psu/ext/1/set", {"state": True})
        assert response["error"]["code"] == "unsupported"
        assert response["error"]["message"].endswith("has no state, it can only be watched")
    finally:
        lab.close()


def test_a_refusal_of_set_is_passed_on(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench()
    programs.fault("set", "sys.exit('outlet is locked')")
    response = lab.observer.ask("psu/ext/1/set", {"state": True})
    assert response["error"]["code"] == "instrument_error"
    assert "set failed for channel 1 (exit status 1: outlet is locked)" in response["error"]["message"]
    assert lab.observer.wait_state("ext", 1)["online"]


def test_a_set_that_lies_is_found_out(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench()
    programs.fault("set", "sys.exit(0)")
    assert lab.observer.code("psu/ext/1/set", {"state": True}) == "readback_mismatch"


def test_off_goes_to_every_channel_although_one_refuses(bench: Callable[..., Bench], programs: Programs) -> None:
    programs.write(channels=[RELAY | {"state": True}, LAB | {"state": True}])
    lab = bench()
    programs.fault("set", "if arguments[0] == '1': sys.exit('stuck')")
    response = lab.observer.ask("psu/ext/set", {"state": False})
    assert response["error"]["code"] == "instrument_error"
    assert "stuck" in response["error"]["message"]
    assert programs.channel(2)["state"] is False


@pytest.mark.parametrize(
    ("verb", "fault", "reason"),
    [
        ("ping", "sys.exit('no route')", "ping says that it is not there (exit status 1: no route)"),
        ("get", "sys.exit(1)", "get_channels failed (exit status 1, nothing on stderr)"),
        ("get", "time.sleep(600)", "supply did not end within 0.6 s and was killed"),
        ("get", "sys.exit(0)", "get_channels printed nothing; it is to print a JSON list of channels"),
        ("get", "print('<html>'); sys.exit(0)", "get_channels printed no JSON: '<html>'"),
        ("get", "print('[1]' * 1000000); sys.exit(0)", "supply printed more than 65536 bytes and was killed"),
        (
            "get",
            "sys.stdout.buffer.write(bytes([0xff, 0xfe])); sys.exit(0)",
            "get_channels printed bytes that are not UTF-8: b'\\xff\\xfe'",
        ),
        ("get", "print('[]'); sys.exit(0)", "get_channels printed an empty list of channels"),
        ("get", "supply['channels'][0].pop('state')", "get_channels printed no channels[0].state"),
        (
            "get",
            "supply['channels'][1]['voltage'] = '12'",
            "get_channels printed a channels[1].voltage that is wrong: takes a number, not '12'",
        ),
        ("get", "supply['channels'].pop()", "get_channels printed channels 1, before 1, 2"),
    ],
)
def test_a_program_that_fails_is_told_and_contained(
    bench: Callable[..., Bench], programs: Programs, verb: str, fault: str, reason: str
) -> None:
    """The unit goes offline with the reason, nothing old is passed off as present, and it comes back by itself."""
    lab = bench(commands={"timeout": 0.6 if "sleep" in fault else 10})
    lab.observer.wait_state("ext", 1, online=True)
    mark = lab.observer.mark()
    programs.fault(verb, fault)
    info = lab.observer.wait_online("ext", online=False, after=mark)
    assert info["reason"] == reason
    assert lab.observer.wait_state("ext", 1, online=False, after=mark)["voltage"] is None
    response = lab.observer.ask("psu/ext/1/set", {"state": True})
    assert response["error"] == {"code": "offline", "message": f"ext is offline: {reason}"}
    programs.write(faults={}, channels=[RELAY, LAB])
    lab.observer.wait_state("ext", 1, online=True, after=lab.observer.mark())


def test_a_set_that_hangs_leaves_its_outcome_uncertain(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench(commands={"timeout": 4})
    programs.fault("set", "time.sleep(600)")
    response = lab.observer.ask("psu/ext/1/set", {"state": True})
    assert response["error"]["code"] == "uncertain"
    assert "supply did not end within 4 s and was killed" in response["error"]["message"]


def test_before_anything_is_known_a_command_is_told_that_it_is_offline(
    bench: Callable[..., Bench], programs: Programs
) -> None:
    programs.write(there=False)
    lab = bench(online=False)
    lab.observer.wait("psu/ext/info", lambda info: "nobody there" in (info["reason"] or ""))
    assert lab.observer.code("psu/ext/1/set", {"state": True}) == "offline"
    programs.write(there=True)
    lab.observer.wait_online("ext")


def test_other_channels_after_a_reconnection_are_taken_over(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench()
    lab.observer.wait_state("ext", 2)
    programs.write(channels=[RELAY | {"index": 7, "name": "LAMP"}])
    assert lab.observer.wait_state("ext", 7)["name"] == "LAMP"
    assert lab.observer.code("psu/ext/2/set", {"state": True}) == "unknown_channel"
    assert lab.observer.ask("psu/ext/LAMP/set", {"state": True})["ok"]


def test_an_object_says_who_the_unit_is(bench: Callable[..., Bench], programs: Programs) -> None:
    who = {"manufacturer": "Acme", "model": "R8", "serial": "17", "firmware": "2.1", "channels": [RELAY]}
    programs.write(channels=who)
    lab = bench(serial="17")
    info = lab.observer.wait_online("ext")
    assert [info[key] for key in ("manufacturer", "model", "serial", "firmware")] == ["Acme", "R8", "17", "2.1"]
    assert lab.observer.wait_state("ext", 1)["model"] == "R8"


def test_another_unit_than_the_configured_one_gets_nothing(bench: Callable[..., Bench], programs: Programs) -> None:
    programs.write(channels={"serial": "18", "channels": [RELAY]})
    lab = bench(online=False, serial="17")
    lab.observer.wait("psu/ext/info", lambda info: "tells the serial number '18', not '17'" in (info["reason"] or ""))


def test_a_configured_channel_that_is_not_there_is_told(bench: Callable[..., Bench]) -> None:
    lab = bench(online=False, channels={3: {"name": "MOTOR"}})
    reason = "get_channels printed channels 1, 2; the configuration has 3 besides"
    lab.observer.wait("psu/ext/info", lambda info: info["reason"] == reason)


def test_it_stops_in_time_although_a_program_hangs(bench: Callable[..., Bench], programs: Programs) -> None:
    lab = bench(commands={"timeout": 60})
    hanging = programs.folder / "hanging"
    programs.fault("get", f"open({str(hanging)!r}, 'w').close(); time.sleep(600)")
    wait_until(hanging.exists, "a program that hangs")
    lab.stop()  # fails if the thread is still there after the patience of the test
    lab.observer.wait("psu/ext/info", lambda info: info["reason"] == "the agent has stopped")


def test_a_units_list_of_psudaemon_works_as_it_is(broker: LocalBroker, programs: Programs, tmp_path: Path) -> None:
    """There a command is text; one that needs no shell gets none."""
    commands = {"ping": f"{programs.program} ping", "get_channels": f"'{programs.program}' get"}
    unit = {"name": "ext", "model": "external", "commands": commands}
    with_bench = Bench(broker.port, tmp_path, [], [unit]).start(online=False)
    try:
        with_bench.observer.wait_online("ext")
    finally:
        with_bench.close()


def test_a_shell_where_it_is_asked_for(broker: LocalBroker, programs: Programs, tmp_path: Path) -> None:
    commands = {
        "shell": True,
        "get_channels": f"{programs.program} get | sed s/RELAY/$LABEL/",
        "set": f"test {{field}} = state && {programs.program} set {{channel}} {{field}} {{value}}",
        "environment": {"LABEL": "LAMP"},
    }
    lab = Bench(broker.port, tmp_path, [], [{"name": "ext", "model": "external", "commands": commands}])
    try:
        lab.start(online=False)
        assert lab.observer.wait_state("ext", 1)["name"] == "LAMP"
        assert lab.observer.ask("psu/ext/LAMP/set/state", "ON")["ok"]
    finally:
        lab.close()


def test_check_connect_runs_what_reads_it(programs: Programs) -> None:
    data = {"units": [programs.unit(serial="17"), programs.unit(name="gone", commands={"get_channels": ["./gone"]})]}
    programs.write(channels={"serial": "17", "manufacturer": "Acme", "model": "R8", "channels": [RELAY, LAB]})
    found = [check_unit(unit, programs.folder) for unit in config.from_data(data).units]
    assert [(f.ok, f.text) for f in found] == [
        (True, "Acme R8, channels 1 (RELAY), 2 (LAB)"),
        (False, "'./gone' can't be started: No such file or directory"),
    ]
    assert programs.runs("set") == []


# The configuration.


def faults(commands: object, **unit: Any) -> list[str]:
    data = {"units": [{"name": "ext", "model": "external", "commands": commands, **unit}]}
    if commands is None:
        del data["units"][0]["commands"]
    with pytest.raises(config.ConfigError) as error:
        config.from_data(data)
    return [f"{fault.key}: {fault.message}" for fault in error.value.faults]


SET = ["s", "{channel}", "{field}", "{value}"]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ({}, "units[0].commands.get_channels: is missing"),
        ({"get_channels": []}, "names no program"),
        ({"get_channels": ["ls", True]}, "holds something that is no text; put it in quotes"),
        ({"get_channels": "  "}, "is empty"),
        ({"get_channels": "read | jq ."}, "holds `|`, which a shell would have to read, and none is started unless"),
        ({"get_channels": "read $PORT"}, "holds `$`"),
        ({"get_channels": "PORT=1 read"}, "holds `PORT=1`"),
        ({"get_channels": "read 'x"}, "holds a quote that is not closed"),
        ({"shell": True, "get_channels": ["read"]}, "is a list, which needs no shell"),
        ({"get_channels": "r", "set": ["s", "{channel}", "{value}"]}, "has no {field}"),
        ({"get_channels": "r", "set": [*SET, "{name}"]}, "holds {name}, which stands for nothing"),
        (
            {"get_channels": "r", "timeout": 0},
            "is out of range; give the seconds that a command may take, above 0, up to 60",
        ),
        ({"get_channels": "r", "output_limit": 1}, "is out of range"),
        ({"get_channels": "r", "get_channel": "r"}, "unknown key; did you mean get_channels?"),
    ],
)
def test_faults_of_commands(commands: object, expected: str) -> None:
    found = faults(commands)
    assert len(found) == 1, found
    assert expected in found[0]


def test_faults_between_model_and_commands() -> None:
    assert "commands: is missing; give for model external" in faults(None)[0]
    assert (
        "pyvisa_args: has no meaning with model external"
        in faults({"get_channels": "r"}, pyvisa_args={"timeout": 1})[0]
    )
    needs = faults({"get_channels": "r"}, channels={1: {"on_broker_loss": "off"}})[0]
    assert needs == "units[0].channels.1.on_broker_loss: needs the unit's commands.set; give that too"
    with pytest.raises(config.ConfigError, match=r"units\[0\].uri: is missing; give the VISA resource name"):
        config.from_data({"units": [{"name": "psu1", "model": "E36313A"}]})
    unit = {"name": "p", "model": "E36313A", "uri": "TCPIP::h::INSTR", "commands": {"get_channels": "r"}}
    with pytest.raises(config.ConfigError, match=r"units\[0\].commands: has no meaning with this model"):
        config.from_data({"units": [unit]})


def test_quoted_shell_syntax_is_none() -> None:
    unit = {
        "name": "e",
        "model": "external",
        "commands": {"get_channels": """read 'a|b' "c & d" x\\;y http://h/?a=b"""},
    }
    read = config.from_data({"units": [unit]}).units[0].commands
    assert read is not None
    assert read.get_channels == ("read", "a|b", "c & d", "x;y", "http://h/?a=b")
