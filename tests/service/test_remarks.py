"""The agent's warnings on MQTT: in which form, how many, when, and what is never in them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.local.broker import LocalBroker
from agent.protocol.messages import AgentRemark
from agent.service import remarks
from agent.service.remarks import BURST, LONGEST, LONGEST_UNTOLD, MOST_WAITING, SETTLING, Remarks
from agent.simulator import Simulator
from agent.timing import system_clock
from tests.faults.proxy import Proxy
from tests.lab import Bench, Observer, wait_until
from tests.properties import examples
from tests.support.inside import retry_soon

log = logging.getLogger("agent.test")
TOPIC = "psu/agents/bench/log"


@dataclass
class Session:
    speaks: bool = True
    reconnects: int = 0
    heard: float = float("-inf")
    sent: list[AgentRemark] = field(default_factory=list)

    def passing(self, topic: str, message: Any) -> None:
        assert topic == TOPIC
        self.sent.append(message)


class Desk:
    def __init__(self, *secrets: str, **environment: str) -> None:
        self.session = Session()
        self.now = 1000.0
        self.remarks = Remarks(
            "bench", TOPIC, self.session, lambda: {"psu1", "psu2"}, secrets, environment, lambda: self.now
        )
        self.remarks.begin()

    def tick(self) -> list[AgentRemark]:
        self.session.sent.clear()
        self.remarks.tick()
        return list(self.session.sent)

    def texts(self) -> list[str]:
        return [remark.text for remark in self.tick()]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk("s3cretPassword", "0123456789abcdef", API_TOKEN="tokenOfTheFarm", PLACE="bench-by-the-window")
    yield desk
    desk.remarks.end()


def test_a_warning_names_its_unit_apart(desk: Desk) -> None:
    log.info("psu1: nothing to tell")
    log.warning("%s: refused: %s", "psu1", "no")
    log.error("%s: not served any more", ascii("psu2"))
    log.critical("broker broker.lab:1883: gone")
    log.warning("psu9: another agent's")
    told = desk.tick()
    assert [(remark.level, remark.unit, remark.text) for remark in told] == [
        ("warning", "psu1", "refused: no"),
        ("error", "psu2", "not served any more"),
        ("critical", None, "broker broker.lab:1883: gone"),
        ("warning", None, "psu9: another agent's"),
    ]
    assert {remark.agent for remark in told} == {"bench"}
    assert desk.tick() == []


def test_what_a_units_thread_logs_is_about_the_unit(desk: Desk) -> None:
    thread = threading.Thread(target=lambda: log.warning("the link was closed"), name="supply-psu2")
    thread.start()
    thread.join()
    assert [(remark.unit, remark.text) for remark in desk.tick()] == [("psu2", "the link was closed")]


def test_that_a_unit_goes_with_its_agent_is_no_warning(desk: Desk) -> None:
    log.warning("psu1: offline: the agent has stopped")
    log.warning("psu1: offline: the agent has stopped answering")
    assert desk.texts() == ["offline: the agent has stopped answering"]


def test_other_programs_logs_are_not_the_agents(desk: Desk) -> None:
    logging.getLogger("asyncio").error("of another library")
    logging.getLogger("py.warnings").warning("of Python")
    assert desk.tick() == []


def test_a_traceback_stays_at_home_and_a_text_is_one_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        logging.getLogger("agent"), "propagate", False
    )  # pytest-xdist passes on no text that is not UTF-8
    try:
        raise RuntimeError("of the inside")
    except RuntimeError:
        log.exception("psu1: the %s failed", "poll")
    log.warning("two\nlines\x1b[31m and\ta \udc80 byte")
    log.warning("%s", "x" * 1000)
    log.warning("wrong %d", "arguments")
    first, second, third, fourth = desk.texts()
    assert first == "the poll failed (the traceback is in the agent's own log)"
    assert second == "two lines\\x1b[31m and a \\udc80 byte"
    assert len(third) == LONGEST
    assert third.endswith("…")
    assert fourth == "wrong %d"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("it took s3cretPassword", "it took ***"),
        ("client psu-agent-bench-0123456789abcdef was taken over", "client psu-agent-bench-*** was taken over"),
        ("the program says tokenOfTheFarm", "the program says ***"),
        ("at the bench-by-the-window", "at the bench-by-the-window"),
        ("http://lab:pa55@pdu.lab/1 answers 401", "http://***@pdu.lab/1 answers 401"),
        ("mqtts://bench3:p:w@broker.lab:8883", "mqtts://***@broker.lab:8883"),
        ("mqtt://:p@ss/word@broker.lab is gone", "mqtt://***@broker.lab is gone"),
        ("GET /on?token=abc123&port=1", "GET /on?token=***&port=1"),
        ("password='abc def'", "password='*** def'"),
        ('{"password": "abc", "user": "x"}', '{"password": "***", "user": "x"}'),
        ("Authorization: Bearer eyJhbGciOi.J9-_", "Authorization: Bearer ***"),
        ("settings.mqtt.password: stands alone; give both", "settings.mqtt.password: stands alone; give both"),
        ("mail to bench@lab.example", "mail to bench@lab.example"),
    ],
)  # fmt: skip
def test_secrets_are_not_told(desk: Desk, text: str, told: str) -> None:
    log.warning("%s", text)
    assert desk.texts() == [told]


def test_a_long_text_with_many_addresses_takes_no_longer_than_another(desk: Desk) -> None:
    """It takes time of the main thread, which has other duties; a text may come from a program of the user."""

    def takes(text: str) -> float:
        log.warning("%s", text)
        began = time.thread_time()
        assert len(desk.tick()) == 1
        return time.thread_time() - began

    assert takes("a://" * 20_000) < 200 * takes("a b " * 20_000)


@given(st.text(max_size=700))
@examples()
def test_any_text_is_one_line_of_json_without_the_secret(text: str) -> None:
    desk = Desk("s3cretPassword")
    try:
        log.warning("%s", f"{text[:5]}s3cretPassword{text}")
        (told,) = desk.tick()
    finally:
        desk.remarks.end()
    assert told.text.isprintable()
    assert len(told.text) <= LONGEST
    assert "s3cretPassword" not in told.text
    assert AgentRemark.model_validate_json(told.to_json()).text == told.text


def test_a_flood_is_told_of_and_hides_no_error(desk: Desk) -> None:
    for number in range(100):
        log.warning("warning %d", number)
    log.error("psu1: an error")
    told = desk.texts()
    assert told == [*(f"warning {number}" for number in range(BURST)), "an error"]
    assert desk.texts() == []
    desk.now += 1.0
    log.warning("one a second")
    one, note = desk.texts()
    assert one == "one a second"
    assert note == (
        f"{100 - BURST} more warnings were left out here: {BURST} are told at once, and then one a second; "
        "the agent's own log has them all"
    )
    desk.now += 100
    assert desk.texts() == []


def test_a_flood_without_an_end_is_counted_now_and_then(desk: Desk) -> None:
    told: list[str] = []
    for _ in range(600):
        desk.now += 0.1
        log.error("again")
        told += desk.texts()
    notes = [int(text.split()[0]) for text in told if "left out" in text]
    assert len(notes) == 60 // LONGEST_UNTOLD - 1 or len(notes) == 60 // LONGEST_UNTOLD
    assert told.count("again") <= BURST + 61
    desk.now += 1
    notes += [int(text.split()[0]) for text in desk.texts() if "left out" in text]
    assert sum(notes) + told.count("again") == 600


def test_what_was_logged_while_the_broker_was_away_is_told_with_its_time(desk: Desk) -> None:
    desk.session.speaks = False
    for number in range(MOST_WAITING + 10):
        desk.now += 1.0
        log.warning("warning %d", number)
    assert desk.tick() == []
    desk.session.speaks = True
    told = desk.tick()
    assert told[0].text.startswith("10 older warnings or errors are not told: only the newest 50 wait")
    assert [remark.text for remark in told[1:]] == [f"warning {number}" for number in range(10, MOST_WAITING + 10)]
    assert [remark.time for remark in told[1:]] == sorted(remark.time for remark in told[1:])


def test_what_the_broker_may_not_have_is_told_again(desk: Desk) -> None:
    log.warning("first")
    assert desk.texts() == ["first"]
    desk.session.heard = system_clock() + 10
    assert desk.texts() == []  # the broker has it
    desk.session.heard = float("-inf")
    log.warning("second")
    assert desk.texts() == ["second"]
    desk.session.speaks = False
    log.warning("broker: gone")
    assert desk.tick() == []
    desk.session.speaks, desk.session.reconnects = True, 1
    assert desk.tick() == []  # those who read it may not be back yet
    desk.now += SETTLING
    assert desk.texts() == ["second", "broker: gone"]


def test_a_refusal_of_the_topic_itself_is_not_told_there(desk: Desk) -> None:
    log.error("broker: it refused a message on 'psu/agents/bench/log': not authorized; it is dropped")
    assert desk.tick() == []


def test_a_thread_that_logs_never_waits_for_the_session(desk: Desk) -> None:
    taken, go_on = threading.Event(), threading.Event()

    def hold(topic: str, message: AgentRemark) -> None:
        taken.set()
        assert go_on.wait(10)

    desk.session.passing = hold  # type: ignore[method-assign]
    log.warning("first")
    sender = threading.Thread(target=desk.remarks.tick)
    sender.start()
    assert taken.wait(10)
    log.warning("second")  # would hang here if what is published were published with the lock held
    go_on.set()
    sender.join()
    assert len(desk.remarks._waiting) == 1


# With the whole agent.


@pytest.fixture
def way(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The agent's to the broker, apart from the observer's."""
    retry_soon(monkeypatch.setattr)
    monkeypatch.setattr(remarks, "SETTLING", 0.1)
    with Proxy(broker.port) as way:
        yield way


@pytest.fixture
def bench(way: Proxy, broker: LocalBroker, tmp_path: Path) -> Iterator[Bench]:
    with Bench(way.port, tmp_path, [Simulator()], observer_port=broker.port) as bench:
        yield bench


def test_an_agent_tells_its_warnings_also_those_of_the_time_without_a_broker(
    bench: Bench, way: Proxy, broker: LocalBroker
) -> None:
    observer = bench.observer
    assert observer.code("psu/psu1/1/set", {"voltage_limit": 99}) == "out_of_range"
    told = observer.wait(TOPIC, lambda remark: "out_of_range" in remark["text"])
    assert (told["level"], told["unit"], told["agent"]) == ("warning", "psu1", "bench")
    assert set(told) == {"time", "agent", "level", "unit", "text"}
    way.stop()
    wait_until(lambda: bench.daemon.session.gone_since is not None, "the loss of the broker")
    bench.simulator.stop()
    wait_until(lambda: not any(supply.online for supply in bench.daemon.supplies), "the loss of the unit")
    mark = observer.mark()
    way.start()
    lost = observer.wait(TOPIC, lambda remark: remark["text"].startswith("offline"), after=mark)
    gone = observer.wait(
        TOPIC, lambda remark: remark["text"].startswith(f"broker 127.0.0.1:{way.port}: gone"), after=mark
    )
    assert gone["time"] < lost["time"]
    newcomer = Observer(broker.port)
    try:
        newcomer.wait("psu/psu1/info")
        assert not [message for message in newcomer.on(TOPIC) if message.retain]
    finally:
        newcomer.close()


def test_the_configurations_warnings_are_told_too(
    make_bench: Callable[..., Bench], make_broker: Callable[..., LocalBroker]
) -> None:
    port = make_broker().port
    early = Observer(port)
    try:
        make_bench(port=port, uvicorn={"port": 5000})
        told = early.wait(TOPIC, lambda remark: "uvicorn" in remark["text"])
    finally:
        early.close()
    assert told["unit"] is None


def test_the_last_warnings_are_told_and_nothing_is_taken_after_the_end(desk: Desk) -> None:
    log.warning("the last one")
    desk.remarks.end()
    assert [remark.text for remark in desk.session.sent] == ["the last one"]
    log.warning("one more")
    assert desk.texts() == []


def test_an_agent_that_has_ended_takes_nothing_more(bench: Bench) -> None:
    handlers = len(logging.getLogger("agent").handlers)
    bench.stop()
    assert len(logging.getLogger("agent").handlers) == handlers - 1
