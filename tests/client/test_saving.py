"""`psu-agent save` and `restore`: from a real supply's agent into a file that people wrote, and back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import config
from agent.client import saving
from agent.config.units import SAVED
from agent.local.broker import LocalBroker
from agent.protocol.messages import ChannelInfo, ChannelState
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.commandline import called as psu_agent
from tests.lab import Bench, unit

FILE = """# Bench 3, by the window. Ask Kim before you change anything.
settings:
  agent: bench                # as on the label
  mqtt: {{host: 127.0.0.1,  port: {port}}}
  state_dir: {state}

units:
  - name: psu1
    model: E36313A            # the new one
    uri: 'TCPIP::127.0.0.1::{socket}::SOCKET'
    channels:
      1: {{name: VDD, voltage_max: 5.5, current_max: 5}}   # the board
      # 2 is broken
      3: {{name: MOTOR, voltage_limit: 7.5}}
  - name: psu2                # at the repair shop
    model: E36313A
    uri: 'TCPIP::127.0.0.1::1::SOCKET'
"""


class Lab:
    def __init__(self, broker: LocalBroker, folder: Path) -> None:
        self.simulator = Simulator().start()
        self.simulator.instrument.execute("CURR 0.5,(@1:3)")
        units = [unit("psu1", self.simulator, channels={1: {"name": "VDD"}, 2: {"name": "SPARE"}})]
        self.bench = Bench(broker.port, folder, [self.simulator], units).start()
        self.file = folder / "psu-agent.yaml"
        self.file.write_text(
            FILE.format(port=broker.port, socket=self.simulator.socket_port, state=folder / "elsewhere")
        )

    def set(self, channel: int, **fields: object) -> None:
        assert self.bench.observer.ask(f"psu/psu1/{channel}/set", dict(fields))["ok"]


@pytest.fixture
def lab(broker: LocalBroker, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(broker, tmp_path)
    yield made
    made.bench.close()


def test_setpoints_and_names_are_saved_and_the_file_stays_as_it_is(lab: Lab) -> None:
    lab.set(1, voltage_limit=3.3)
    lab.set(2, voltage_limit=12, current_limit=0.25)
    lab.set(3, voltage_limit=7.5)
    lab.file.chmod(0o640)
    before = lab.file.read_text()
    done = psu_agent("save", "psu1", "--config", str(lab.file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == [
        "psu1/1 voltage_limit: 3.3",
        "psu1/1 current_limit: 0.5",
        "psu1/1 voltage_protection: 6.6",
        "psu1/1 current_protection: false",
    ]
    assert 'psu1/2 name: "SPARE"' in done.stdout.replace("SPARE", '"SPARE"')
    after = lab.file.read_text()
    assert after == before.replace(
        "{name: VDD, voltage_max: 5.5, current_max: 5}",
        "{name: VDD, voltage_max: 5.5, current_max: 5, voltage_limit: 3.3, current_limit: 0.5, voltage_protection: 6.6, "
        "current_protection: false}",
    ).replace(
        "{name: MOTOR, voltage_limit: 7.5}\n",
        "{name: MOTOR, voltage_limit: 7.5, current_limit: 0.5, voltage_protection: 27.5, current_protection: false}\n"
        "      2: {voltage_limit: 12.0, current_limit: 0.25, voltage_protection: 27.5, current_protection: false, "
        'name: "SPARE"}\n',
    )
    assert stat.S_IMODE(lab.file.stat().st_mode) == 0o640
    backup = lab.file.with_name("psu-agent.yaml.bak")
    assert backup.read_text() == before
    assert stat.S_IMODE(backup.stat().st_mode) == 0o640
    assert sorted(p.name for p in lab.file.parent.glob("*psu-agent.yaml*")) == ["psu-agent.yaml", "psu-agent.yaml.bak"]
    again = psu_agent("save", "psu1", "--config", str(lab.file))
    assert (again.returncode, again.stdout) == (0, "nothing to save: the file has it all\n")
    assert backup.read_text() == before


def test_what_is_offline_is_told_and_the_rest_is_saved(lab: Lab) -> None:
    lab.set(1, voltage_limit=3.3)
    done = psu_agent("save", "--config", str(lab.file))
    assert done.returncode == 1
    assert "psu2 is not saved: nothing is known of it" in done.stderr
    assert config.load(lab.file).units[0].channel(1).voltage_limit == 3.3
    after = lab.bench.observer.mark()
    lab.simulator.stop()
    lab.bench.observer.wait_online("psu1", online=False, after=after)
    before = lab.file.read_text()
    done = psu_agent("save", "psu1", "--config", str(lab.file))
    assert done.returncode == 1
    assert "psu1 is not saved: " in done.stderr
    assert lab.file.read_text() == before


@pytest.mark.parametrize("value", ["VOLT 6,(@1)", "CURR 6,(@1)"])
def test_a_setting_above_the_limit_of_the_file_is_told_and_the_rest_is_saved(lab: Lab, value: str) -> None:
    """As after a reset of the unit: no channel of the whole fleet was saved then."""
    field, limit = ("voltage_limit", "voltage_max of 5.5") if "VOLT" in value else ("current_limit", "current_max of 5")
    mark = lab.bench.observer.mark()
    lab.simulator.instrument.execute(value)
    lab.bench.observer.wait("psu/psu1/1/state", lambda state: state[field] == 6, after=mark)
    done = psu_agent("save", "psu1", "--config", str(lab.file))
    assert done.returncode == 1
    assert f"psu-agent: psu1/1 {field} is not saved: 6 is more than the {limit}; set less" in done.stderr
    assert f"psu1/1 {field}" not in done.stdout
    saved = config.load(lab.file).units[0]
    assert getattr(saved.channel(1), field) is None
    assert saved.channel(1).voltage_protection == 6.6
    assert saved.channel(3).current_limit == 0.5


def test_restore_sends_what_was_saved(lab: Lab) -> None:
    lab.set(1, voltage_limit=3.3)
    lab.set(3, voltage_limit=9)
    assert psu_agent("save", "psu1", "--config", str(lab.file)).returncode == 0
    for channel in (1, 3):
        lab.set(channel, voltage_limit=1, current_limit=0.1, state=True)
    done = psu_agent("restore", "psu1/VDD", "--config", str(lab.file))
    assert done.returncode == 0, done.stderr
    observer = lab.bench.observer
    observer.wait_state("psu1", 1, after=observer.mark(), voltage_limit=3.3)
    assert observer.wait_state("psu1", 3, after=observer.mark())["voltage_limit"] == 1
    assert observer.ask("psu/psu1/3/lease/set", {"holder": "ci-42", "ttl": 60})["ok"]
    assert psu_agent("restore", "--config", str(lab.file), "--lease", "ann").returncode == 1
    done = psu_agent("restore", "psu1/3", "--config", str(lab.file), "--lease", "ci-42")
    assert done.returncode == 0, done.stderr
    observer.wait_state("psu1", 3, after=observer.mark(), voltage_limit=9, current_limit=0.5, state=True)
    nobody = psu_agent("restore", "psu9", "--config", str(lab.file))
    assert (nobody.returncode, "has no unit psu9; it has psu1, psu2" in nobody.stderr) == (1, True)
    nothing = psu_agent("restore", "psu2", "--config", str(lab.file))
    assert nothing.returncode == 1
    assert "no saved settings of psu2" in nothing.stderr


def test_restore_sends_protections_in_an_order_in_which_nothing_trips(lab: Lab) -> None:
    """Down to a lower trip level and up again, with the output on, into a load that would trip at a wrong moment."""
    low = {"voltage_limit": 3.0, "voltage_protection": 3.5, "current_protection": True, "current_limit": 0.4}
    high = {"voltage_limit": 5.0, "voltage_protection": 5.5, "current_protection": False, "current_limit": 0.8}
    observer = lab.bench.observer
    lab.simulator.instrument.set_load(1, Resistor(10))
    for saved, present in ((low, high), (high, low)):
        lab.set(1, **saved)
        assert psu_agent("save", "psu1/1", "--config", str(lab.file)).returncode == 0
        lab.set(1, **present)
        lab.set(1, state=True)
        done = psu_agent("restore", "psu1/1", "--config", str(lab.file))
        assert done.returncode == 0, done.stderr
        state = observer.wait_state("psu1", 1, after=observer.mark(), **saved)
        assert (state["state"], state["tripped"]) == (True, None)
        lab.set(1, state=False)


def test_a_level_without_effect_is_not_sent(tmp_path: Path) -> None:
    """The agent refuses one, and all that comes with it."""
    channels = {1: {"voltage_protection": 6.6, "voltage_protection_state": False, "voltage_limit": 1.0}}
    entry = {"name": "p", "model": "E36313A", "uri": "TCPIP::h::INSTR", "channels": channels}
    (fields,) = saving.saved(config.from_data({"units": [entry]})).values()
    assert fields == {"voltage_limit": 1.0, "voltage_protection_state": False}


@pytest.mark.parametrize(
    ("told", "takes", "saved_fields"),
    [
        ({"voltage_protection": 5.0}, ["voltage_limit"], {}),  # it can be read alone
        ({"voltage_protection": 5.0}, ["voltage_protection"], {"voltage_protection": 5.0}),
        ({"voltage_protection": 0.0}, ["voltage_protection"], {}),  # no protection, and nothing that it could be set to
        ({"voltage_protection": 5.0, "voltage_protection_state": False}, ["voltage_protection"], {}),
        (
            {"voltage_protection": 5.0, "voltage_protection_state": False},
            ["voltage_protection", "voltage_protection_state"],
            {"voltage_protection": 5.0, "voltage_protection_state": False},
        ),
        (
            {"current_protection_level": 1.23456789},
            ["current_protection_level"],
            {"current_protection_level": 1.234568},
        ),
    ],
)
def test_what_can_be_restored_is_saved(
    lab: Lab, told: dict[str, object], takes: list[str], saved_fields: dict[str, object]
) -> None:
    info = lab.bench.observer.wait("psu/psu1/info")["channels"][0]
    state = lab.bench.observer.wait_state("psu1", 1, after=lab.bench.observer.mark())
    nothing = dict.fromkeys(SAVED)
    changes = saving.ConfigFile(lab.file).changes(
        [(ChannelState(**{**state, **nothing, **told}), ChannelInfo(**{**info, "fields": takes}))]
    )
    assert {change.field: change.new for change in changes} == saved_fields


def test_a_channel_gets_a_name(lab: Lab) -> None:
    done = psu_agent("save", "psu1/2", "--name", "LED $1", "--config", str(lab.file))
    assert done.returncode == 0, done.stderr
    assert config.load(lab.file).units[0].channel(2).name == "LED $1"
    assert config.load(lab.file).units[0].channel(2).voltage_limit is None
    done = psu_agent("save", "psu1/VDD", "--name", "VCORE", "--config", str(lab.file))
    assert done.returncode == 0, done.stderr
    assert '{name: "VCORE", voltage_max: 5.5, current_max: 5}   # the board' in lab.file.read_text()


@pytest.mark.parametrize(
    ("arguments", "why", "code"),
    [
        (("psu1/2", "--name", "a/b"), "holds `/`, which has a meaning in topics", 2),
        (("psu1/2", "--name", "MOTOR"), "channel 3's name too", 2),
        (("psu1/7", "--name", "X"), "has no channel 7", 2),
        (("psu1/NONE", "--name", "X"), "has no channel NONE of psu1; give its number", 2),
        (("psu1", "--name", "X"), "--name takes UNIT/CH", 2),
        (("psu9",), "has no unit psu9; it has psu1, psu2", 2),
    ],
)
def test_what_would_make_a_fault_is_not_written(lab: Lab, arguments: tuple[str, ...], why: str, code: int) -> None:
    before = lab.file.read_text()
    done = psu_agent("save", *arguments, "--config", str(lab.file))
    assert done.returncode == code
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert lab.file.read_text() == before
    assert not lab.file.with_name("psu-agent.yaml.bak").exists()


def test_a_dry_run_writes_nothing(lab: Lab) -> None:
    lab.set(1, voltage_limit=3.3)
    before = lab.file.read_text()
    done = psu_agent("save", "psu1/1", "--dry-run", "--config", str(lab.file))
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "psu1/1 voltage_limit: 3.3",
            "psu1/1 current_limit: 0.5",
            "psu1/1 voltage_protection: 6.6",
            "psu1/1 current_protection: false",
        ],
    )
    assert lab.file.read_text() == before


def test_a_link_stays_one(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = lab.file.rename(tmp_path / "real" / "bench3.yaml")
    lab.file.symlink_to(real)
    lab.set(1, voltage_limit=3.3)
    assert psu_agent("save", "psu1/1", "--config", str(lab.file)).returncode == 0
    assert lab.file.is_symlink()
    assert config.load(real).units[0].channel(1).voltage_limit == 3.3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_is_told(lab: Lab) -> None:
    lab.set(1, voltage_limit=3.3)
    lab.file.parent.chmod(0o500)
    try:
        done = psu_agent("save", "psu1/1", "--config", str(lab.file))
    finally:
        lab.file.parent.chmod(0o700)
    assert done.returncode == 2
    assert "can't be written: Permission denied; nothing was changed" in done.stderr


def test_shared_channels_are_not_written_into(lab: Lab) -> None:
    text = (
        lab.file.read_text()
        .replace("      1: {name: VDD", "      1: &c {name: VDD")
        .replace(
            "  - name: psu2                # at the repair shop\n    model: E36313A",
            "  - name: psu2\n    model: E36313A\n    channels: {1: *c}",
        )
    )
    lab.file.write_text(text)
    lab.set(1, voltage_limit=3.3)
    done = psu_agent("save", "psu1/1", "--config", str(lab.file))
    assert done.returncode == 2
    assert "alias" in done.stderr
    assert lab.file.read_text() == text


def test_psudaemons_file_is_saved_where_psudaemon_saved_it(lab: Lab, broker: LocalBroker) -> None:
    text = f"""settings:
  uvicorn: {{port: 5000}}
  mqtt: {{host: 127.0.0.1, port: {broker.port}}}
units:
- name: psu1
  model: Keysight Technologies,E36313A
  uri: TCPIP::127.0.0.1::{lab.simulator.socket_port}::SOCKET
  pyvisa_args:
    open_timeout: 5000
  channel_data:
    1:
      name: VDD
      current_limit: 1.0
      voltage_limit: 1.0
    2:
      name: CH2
      current_limit:
      voltage_limit: null
"""
    lab.file.write_text(text)
    lab.set(1, voltage_limit=3.3)
    done = psu_agent("save", "psu1/1", "--config", str(lab.file))
    assert done.returncode == 0, done.stderr
    assert lab.file.read_text() == text.replace("current_limit: 1.0", "current_limit: 0.5").replace(
        "voltage_limit: 1.0", "voltage_limit: 3.3\n      voltage_protection: 6.6\n      current_protection: false"
    )


def test_saved_settings_are_checked_and_make_no_difference_to_the_agent(tmp_path: Path) -> None:
    def load(channels: dict[object, object]) -> config.Config:
        entry = {"name": "p", "model": "E36313A", "uri": "TCPIP::h::INSTR", "channels": channels}
        return config.from_data({"units": [entry]})

    plain = load({1: {"name": "VDD"}}).units[0]
    saved = load({1: {"name": "VDD", "voltage_limit": 3.3}, 2: {"current_limit": 1.0}}).units[0]
    assert saved != plain
    assert saved.served() == plain.served()
    with pytest.raises(
        config.ConfigError, match=r"channels\.1\.voltage_limit: 6 is more than the voltage_max of 5; give less"
    ):
        load({1: {"voltage_max": 5, "voltage_limit": 6}})


def test_both_of_psudaemons_and_our_channels_is_a_fault() -> None:
    entry = {"name": "p", "model": "E36313A", "uri": "TCPIP::h::INSTR", "channels": {}, "channel_data": {}}
    with pytest.raises(config.ConfigError, match=r"channel_data: stands beside channels; move what it holds there"):
        config.from_data({"units": [entry]})


def test_faults_of_channel_data_have_their_line(tmp_path: Path) -> None:
    file = tmp_path / "psudaemon.yaml"
    file.write_text(
        "units:\n- name: p\n  model: E36313A\n  uri: TCPIP::h::INSTR\n  channel_indices: [1, 2, 3]\n"
        "  channel_data:\n    1: {name: a/b}\n    9: {name: x}\n"
    )
    with pytest.raises(config.ConfigError) as error:
        config.load(file)
    assert [str(fault).removeprefix(f"{file}:").split(": ")[0:2] for fault in error.value.faults] == [
        ["7", "units[0].channel_data.1.name"],
        ["8", "units[0].channel_data.9"],
    ]
