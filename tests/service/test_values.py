"""Plain values: those that have changed, those that are not known any more, and none of a unit that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.settings import DeadbandSettings, PublishSettings
from agent.protocol.fields import LEVELS, plain
from agent.protocol.messages import ChannelState
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.service.values import METERS_INTERVAL, PlainValues
from agent.store.part import Shared
from agent.store.published import PublishedUnits, PublishedValues
from agent.store.store import Store
from tests.mqtt import reports
from tests.properties import examples

ON = {**reports.ON, "energy": 1.0, "charge": 0.5}


class Desk:
    """Plain values of ``psu1``, on a session that does nothing but keep them, and a clock that the test sets."""

    def __init__(self, records: PublishedUnits, *units: str, deadband: DeadbandSettings | None = None) -> None:
        self.retained: dict[str, bytes] = {}
        self.sent: list[dict[str, bytes]] = []
        self.forgotten: list[str] = []
        self.now = 100.0
        settings = PublishSettings(changes_only=True, deadband=deadband or DeadbandSettings())
        self.values = PlainValues(Topics("psu"), self, records, dict.fromkeys(units, settings), lambda: self.now)

    def keep_values(self, values: Any) -> None:
        assert values
        self.sent.append(dict(values))
        self.retained |= values

    def forget(self, topic: str) -> None:
        self.forgotten.append(topic)

    @property
    def present(self) -> dict[str, bytes]:
        return {topic: payload for topic, payload in self.retained.items() if payload}

    def info(self, *channels: int, online: bool = True, unit: str = "psu1") -> None:
        known = [reports.channel_info(index) for index in channels]
        self.values.report(Report(info=reports.info(online, unit).model_copy(update={"channels": known})))

    def state(self, **fields: Any) -> dict[str, bytes]:
        """Report a state, and return what was published for it, by the last level of its topic."""
        del self.sent[:]
        state = reports.state(1).model_copy(update={**ON, **fields})
        self.values.report(Report(states=[state]))
        return {topic.rpartition("/")[2]: payload for sent in self.sent for topic, payload in sent.items()}

    def lost(self) -> dict[str, bytes]:
        del self.sent[:]
        state = reports.state(2, energy=1.0, charge=0.5).model_copy(update={"online": False})
        assert isinstance(state, ChannelState)
        self.values.report(Report(states=[state]))
        return {topic.rpartition("/")[2]: payload for sent in self.sent for topic, payload in sent.items()}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "bench.sqlite3", 10)
    store.start()
    yield store
    store.close(5)


@pytest.fixture
def desk(store: Store) -> Desk:
    desk = Desk(store.published_values, "psu1")
    desk.info(1)
    return desk


def test_the_first_state_tells_all_that_is_known_and_removes_the_rest(desk: Desk) -> None:
    assert desk.state(tripped=None) == {
        "name": b"CH1",
        "online": b"online",
        "output": b"ON",
        "voltage": b"5.0000",
        "current": b"0.5000",
        "power": b"2.5000",
        "voltage_limit": b"5.0000",
        "current_limit": b"1.0000",
        "mode": b"CV",
        "tripped": b"none",
        "voltage_protection": b"",
        "current_protection": b"",
        "current_protection_level": b"",
        "voltage_protection_state": b"",
        "energy": b"1.00000",
        "charge": b"0.50000",
    }
    assert "psu/psu1/1/state" not in desk.retained
    assert desk.state() == {}


def test_a_measured_value_is_told_when_it_has_left_its_deadband(desk: Desk) -> None:
    desk.state()
    assert desk.state(voltage=5.0009) == {}
    assert desk.state(voltage=5.0011) == {"voltage": b"5.0011"}
    assert desk.state(voltage=5.0002) == {}  # from what was told, not from the last one
    assert desk.state(voltage=5.0, current=0.6, power=3.0) == {
        "voltage": b"5.0000",
        "current": b"0.6000",
        "power": b"3.0000",
    }
    assert desk.state(voltage=5.0, current=0.6, power=3.2) == {}  # watts go with volts and amperes


def test_the_deadband_of_the_configuration(store: Store) -> None:
    desk = Desk(store.published_values, "psu1", deadband=DeadbandSettings(voltage=0.1, current=0.01, power=1.0))
    desk.info(1)
    desk.state()
    assert desk.state(voltage=5.09, current=0.509, power=3.49) == {}
    assert desk.state(voltage=5.09, power=3.51) == {"power": b"3.5100"}
    assert desk.state(voltage=5.11, power=3.52) == {"voltage": b"5.1100"}


@pytest.mark.parametrize(
    ("field", "value", "payload"),
    [
        ("state", False, {"output": b"OFF"}),
        ("mode", "CC", {"mode": b"CC"}),
        ("tripped", "OCP", {"tripped": b"OCP"}),
        ("voltage_limit", 5.001, {"voltage_limit": b"5.0010"}),
        ("name", "VDD", {"name": b"VDD"}),
        ("voltage", None, {"voltage": b""}),
        ("voltage", float("nan"), {"voltage": b""}),
        ("state", None, {"output": b""}),
    ],
)
def test_all_else_is_told_when_it_changes(desk: Desk, field: str, value: object, payload: dict[str, bytes]) -> None:
    desk.state()
    assert desk.state(**{field: value}) == payload
    assert desk.state(**{field: value}) == {}


def test_what_a_unit_was_is_not_told_of_one_that_is_away(desk: Desk) -> None:
    desk.state()
    assert desk.lost() | {"voltage": b""} == {
        "online": b"offline",
        **dict.fromkeys(
            ("output", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "tripped"), b""
        ),
    }
    assert set(desk.present) == {f"psu/psu1/1/{level}" for level in ("name", "online", "energy", "charge")}
    assert desk.state()["output"] == b"ON"
    assert desk.present["psu/psu1/1/voltage"] == b"5.0000"


def test_what_grows_all_the_time_is_told_now_and_then(desk: Desk) -> None:
    desk.state()
    for second in range(1, int(METERS_INTERVAL)):
        desk.now = 100.0 + second
        assert desk.state(energy=1 + second, charge=0.5 + second) == {}
    desk.now = 100.0 + METERS_INTERVAL
    assert desk.state(energy=20.0, charge=10.0) == {"energy": b"20.00000", "charge": b"10.00000"}
    assert desk.state(energy=21.0, charge=11.0) == {}


def test_of_a_unit_that_asks_for_none_nothing_is_published(store: Store) -> None:
    desk = Desk(store.published_values, "psu2")
    desk.info(1)
    assert desk.state() == {}
    assert store.published_values.channels("psu1") is None


def test_the_values_of_an_earlier_run_are_removed_if_nobody_asks_for_them(store: Store) -> None:
    store.published_values.remember("psu1", [1, 2])
    desk = Desk(store.published_values)
    desk.info(1)
    assert not desk.present
    assert {f"psu/psu1/{index}/{level}" for index in (1, 2) for level in ("output", "voltage", "name")} <= set(
        desk.retained
    )
    assert store.published_values.channels("psu1") is None
    del desk.sent[:]
    desk.info(1)
    assert desk.sent == []


def test_the_values_of_an_earlier_run_are_removed_while_the_unit_can_not_be_reached(store: Store) -> None:
    store.published_values.remember("psu1", [1, 2])
    desk = Desk(store.published_values, "psu1")
    desk.info(online=False)
    assert desk.retained["psu/psu1/2/voltage"] == b""
    desk.info(1, online=False)
    desk.state()
    del desk.sent[:]
    desk.info(1, online=False)
    assert not [sent for sent in desk.sent if any(topic.startswith("psu/psu1/1/") for topic in sent)]
    # With the unit there, what an earlier run told stays until its state comes: no reader sees it vanish at a restart.
    again = Desk(store.published_values, "psu1")
    again.info(1)
    assert again.sent == []


def test_a_reload_begins_and_ends_them(store: Store) -> None:
    desk = Desk(store.published_values)
    desk.info(1)
    assert desk.values.serve({"psu1": PublishSettings()}) == (["psu1"], [])
    desk.info(1)  # as the daemon has it told again
    assert desk.state()["output"] == b"ON"
    assert desk.values.serve({"psu1": PublishSettings()}) == ([], [])
    assert desk.values.serve({}) == ([], ["psu1"])
    assert not desk.present
    assert desk.state(voltage=1.0) == {}
    assert not desk.present


def test_of_another_agents_topics_nothing_is_removed(desk: Desk, store: Store) -> None:
    desk.state()
    desk.values.forget("psu/psu1/status")
    assert desk.forgotten == ["psu/psu1/status"]
    desk.values.forget("psu/psu1/1/state")
    assert {"psu/psu1/1/state", "psu/psu1/1/output", "psu/psu1/1/voltage", "psu/psu1/1/name"} <= set(desk.forgotten)
    desk.values.disown("psu1")
    del desk.sent[:]
    desk.values.remove("psu1")
    assert desk.sent == []
    desk.info(1)  # it is this agent's again: all is told anew
    assert len(desk.state()) > 10
    assert store.published_values.channels("psu1") == (1,)


def test_another_resolution_changes_the_digits(desk: Desk) -> None:
    desk.state()
    coarse = reports.channel_info(1, voltage_resolution=0.1)
    desk.values.report(Report(info=reports.info().model_copy(update={"channels": [coarse]})))
    assert desk.state(voltage=5.26, voltage_limit=5.26) == {"voltage": b"5.26", "voltage_limit": b"5.26"}


@pytest.fixture(params=["states", "infos"])
def strange(request: pytest.FixtureRequest, desk: Desk) -> Callable[[], None]:
    if request.param == "states":
        return lambda: desk.values.report(Report(states=[reports.state(1, 7, **ON)]))
    return lambda: desk.values.report(Report(events=[reports.event()]))


def test_what_has_nothing_to_tell_is_ignored(desk: Desk, strange: Callable[[], None]) -> None:
    strange()
    assert desk.sent == []


def test_what_another_agent_had_published_goes_if_this_one_publishes_none(store: Store) -> None:
    desk = Desk(store.published_values)
    desk.info(1)
    assert desk.sent == []
    desk.values.disown("psu1")  # another agent serves it, and publishes what it likes
    assert desk.sent == []
    desk.info(1, 2)  # until it has gone
    assert {"psu/psu1/1/output", "psu/psu1/2/voltage"} <= set(desk.retained)
    assert not desk.present
    del desk.sent[:]
    desk.info(1, 2)
    assert desk.sent == []


_STATES = st.fixed_dictionaries(
    {
        "online": st.booleans(),
        "state": st.sampled_from([None, True, False]),
        "voltage": st.none() | st.sampled_from([5.0, 5.0004, 5.0012, 5.002, 0.0]) | st.floats(-30, 30),
        "current": st.none() | st.sampled_from([0.5, 0.5005, 0.5011]),
        "voltage_limit": st.none() | st.sampled_from([5.0, 5.0001, 3.3]),
        "mode": st.sampled_from([None, "CV", "OFF"]),
    }
)
_STEPS = ["info", "offline", "off", "on", "other agent"]


@given(st.lists(_STATES | st.sampled_from(_STEPS), max_size=12))
@examples(60)
def test_after_any_news_the_broker_has_what_is_known_and_no_more(news: list[Any]) -> None:
    desk = Desk(PublishedValues(Shared()), "psu1")
    desk.info(1)
    is_wanted, newest = True, None
    for step in news:
        match step:
            case "info" | "offline":
                desk.info(1, online=step == "info")
            case "off" | "on":
                is_wanted, newest = step == "on", newest if step == "on" and is_wanted else None
                desk.values.serve({"psu1": PublishSettings()} if is_wanted else {})
                desk.info(1)
            case "other agent":
                desk.values.forget("psu/psu1/1/state")
                desk.values.disown("psu1")
                desk.retained.clear()  # that agent's are not looked at here
                newest = None
                desk.info(1)
            case fields:
                newest = reports.state(1).model_copy(update=fields)
                desk.values.report(Report(states=[newest]))
        if not is_wanted or newest is None:
            assert not desk.present
            continue
        for field, level in LEVELS.items():
            payload, value = desk.retained[f"psu/psu1/1/{level}"], getattr(newest, field)
            if field in ("voltage", "current") and value is not None:
                assert abs(float(payload) - value) < 0.0011
            else:
                assert payload == plain(newest, field, {"V": 4, "A": 4})
