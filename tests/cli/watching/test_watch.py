"""`watch` on a terminal, with a real broker: twelve units of three channels, and all that happens to them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.local.broker import LocalBroker
from agent.protocol.messages import format_time, utc_now
from tests.cli.watching.fleets import CONDITIONS
from tests.cli.watching.terminal import Terminal
from tests.client.test_fleet import agent_info, info, state
from tests.commandline import psu_agent
from tests.support.waiting import wait_until

#: Runs a command in a job of its own; after Ctrl-Z and a line it goes on.
_WITH_JOBS = 'set -m; "$@"; echo "stopped $?"; read _; fg; echo "ended $?"'


class Fleet:
    """Twelve units of one agent that answers offs, all on one connection."""

    def __init__(self, broker: LocalBroker) -> None:
        self.broker = broker
        self.url = f"mqtt://{broker.host}:{broker.port}"
        self.asked: list[tuple[str, Any]] = []
        self.is_silent = False
        self._seq = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._answer
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe([("psu/+/set", 1), ("psu/+/+/set", 1)])
        assert self._ready.wait(20)
        units = [f"psu{i}" for i in range(1, 13)]
        self.tell("agents/bench/status", b"online")
        self.tell("agents/bench/info", agent_info("bench", *units))
        for unit in units:
            self.tell(f"{unit}/status", b"online")
            self.tell(f"{unit}/info", info(unit, online=True, reason=None, poll_interval=600.0))
            for index in (1, 2, 3):
                self.channel(unit, index, "off" if index == 3 else "on")

    def end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def tell(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        self._client.publish(f"psu/{topic}", payload, 1, retain).wait_for_publish(20)

    def channel(self, unit: str, index: int, condition: str, **changes: Any) -> None:
        self._seq += 1
        values = {"time": format_time(utc_now()), "seq": self._seq, **CONDITIONS[condition], **changes}
        self.tell(f"{unit}/{index}/state", state(unit, index, **values))

    def _answer(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        self.asked.append((message.topic, payload))
        if self.is_silent:
            return
        place = message.topic.split("/")[1:-1]
        units = [f"psu{i}" for i in range(1, 13)] if place == ["all"] else place[:1]
        for unit in units:
            index = int(place[1]) if len(place) > 1 else None
            told = {"id": payload["id"], "ok": True, "time": format_time(utc_now()), "psu": unit, "index": index}
            topic = f"psu/{unit}/response" if index is None else f"psu/{unit}/{index}/response"
            client.publish(topic, json.dumps(told).encode(), 1)


@pytest.fixture
def fleet(broker: LocalBroker) -> Iterator[Fleet]:
    fleet = Fleet(broker)
    yield fleet
    fleet.end()


def watch(fleet: Fleet, *arguments: str, **options: Any) -> Terminal:
    return Terminal("watch", "--broker", fleet.url, *arguments, **options)


def test_a_day_at_the_screen(fleet: Fleet) -> None:
    with watch(fleet) as terminal:
        terminal.wait_for("12 of 12 units online  24 on  12 off")
        assert "psu12/3" not in "\n".join(terminal.lines)
        # A trip of the last channel of the last unit is on the first screen.
        fleet.channel("psu12", 3, "tripped")
        terminal.wait_for("psu12/3 CH3  off")
        terminal.wait_for("1 tripped")
        terminal.wait_until(lambda: "OVP trip" in terminal.lines[3], "the trip in the first row")
        # A unit that goes offline, and one whose last command was refused.
        fleet.tell("psu7/info", info("psu7", reason="No route to host"))
        fleet.tell("psu7/status", b"offline")
        terminal.wait_for("psu7 is offline: No route to host")
        refusal = {"code": "limit_exceeded", "message": "voltage_limit 9 V is above 5.5 V"}
        told = {"id": "1", "ok": False, "time": format_time(utc_now()), "psu": "psu2", "index": 1, "error": refusal}
        fleet.tell("psu2/1/response", json.dumps(told).encode(), retain=False)
        terminal.wait_for("psu2/1 CH1: refused: voltage_limit 9 V is above 5.5 V")
        # A warning of the agent, with an attempt to write on the terminal.
        log = {
            "time": format_time(utc_now()),
            "level": "warning",
            "unit": "psu3",
            "text": "slow \x1b[2J\x1b]0;x\x07 answer",
        }
        fleet.tell("agents/bench/log", json.dumps(log).encode(), retain=False)
        assert "\x1b" not in terminal.wait_for("warning bench psu3: slow")
        fleet.channel("psu3", 1, "on", name="\x1b[31mX\x9b2J\r\n")
        terminal.wait_for("�[31mX�2J")
        assert b"\x1b[31mX" not in terminal.written
        assert b"\x1b]0" not in terminal.written
        # Another size of the window.
        terminal.resize(60, 12)
        terminal.wait_for("▼ PgDn: ")
        terminal.wait_until(lambda: re.match(r"psu12/3 .* OVP trip$", terminal.lines[3]), "the trip, again")
        # Scrolling, the filter, the help.
        terminal.type("\x1b[F")
        terminal.wait_for("▲ PgUp: ")
        terminal.type("/psu12\r")
        terminal.wait_for("filter: psu12")
        terminal.type("?")
        terminal.wait_for("turn EVERYTHING off")
        terminal.type(" \x1b")
        terminal.wait_for("filter: psu12", is_gone=True)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_before()
        assert b"Traceback" not in terminal.written


def test_offs(fleet: Fleet) -> None:
    with watch(fleet) as terminal:
        terminal.wait_for("12 of 12 units online")
        terminal.type("jjo")
        terminal.wait_for("Turn off psu2/1 CH1?  y/n")
        terminal.type("n")
        terminal.wait_for("nothing was sent")
        terminal.type("oy")
        terminal.wait_for("psu2/1 is off, confirmed")
        assert [(topic, asked["state"]) for topic, asked in fleet.asked] == [("psu/psu2/1/set", False)]
        terminal.type("O")
        terminal.wait_for("Turn off EVERY output of EVERY agent?  y/n")
        terminal.type("y")
        terminal.wait_for("all off: confirmed by 12 units")
        assert [(topic, asked["state"]) for topic, asked in fleet.asked[1:]] == [("psu/all/set", False)]
        # Nobody answers: it does not end without a word.
        fleet.is_silent = True
        terminal.type("oyq")
        terminal.wait_for("waiting for the response: psu2/1 (Ctrl-C ends)")
        assert terminal.is_as_before()
        wait_until(lambda: fleet.asked[2:] and fleet.asked[2][0] == "psu/psu2/1/set", "the off")
        terminal.type("\x03")
        assert terminal.end() == 0


def test_an_off_without_the_broker_is_said_not_to_be_sent_and_never_comes_late(fleet: Fleet) -> None:
    with watch(fleet) as terminal:
        terminal.wait_for("12 of 12 units online")
        fleet.end()
        fleet.broker.kill()
        terminal.wait_for("the broker is gone")
        terminal.wait_until(lambda: "5.0" not in "\n".join(terminal.lines[3:]), "no value to be shown")
        terminal.type("oy")
        terminal.wait_for("NOT SENT: can't reach the broker")
        fleet.broker.start()
        again = Fleet(fleet.broker)
        terminal.wait_for("12 of 12 units online")
        again.channel("psu1", 1, "tripped")
        terminal.wait_for("OVP trip")
        assert again.asked == []
        again.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_the_terminal_as_it_was(fleet: Fleet, number: signal.Signals) -> None:
    with watch(fleet) as terminal:
        terminal.wait_for("12 of 12 units online")
        assert not terminal.is_as_before()
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(number)
        assert terminal.end() == 0
        assert terminal.is_as_before()


def test_ctrl_z_and_fg(fleet: Fleet) -> None:
    with watch(fleet, shell=_WITH_JOBS) as terminal:
        terminal.wait_for("12 of 12 units online")
        terminal.type("\x1a")
        terminal.wait_for("stopped 148")
        assert terminal.is_as_before()
        fleet.channel("psu5", 1, "tripped")
        terminal.screen.reset()
        terminal.type("\n")
        terminal.wait_for("12 of 12 units online")
        terminal.wait_for("OVP trip")
        assert not terminal.is_as_before()
        terminal.type("q")
        terminal.wait_for("ended 0")
        assert terminal.end() == 0
        assert terminal.is_as_before()


def test_ctrl_z_where_nobody_could_continue_it_does_nothing(fleet: Fleet) -> None:
    with watch(fleet) as terminal:
        terminal.wait_for("12 of 12 units online")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.wait_until(lambda: terminal.written.count(b"\x1b[?1049h") == 2, "the screen again")
        terminal.type("?")
        terminal.wait_for("turn EVERYTHING off")


def test_without_a_terminal_to_type_on_there_are_no_keys(fleet: Fleet) -> None:
    with watch(fleet, is_typed_on=False) as terminal:
        terminal.wait_for("Ctrl-C ends")
        assert "q quit" not in "\n".join(terminal.lines)
        terminal.type("q")
        fleet.channel("psu5", 1, "tripped")
        terminal.wait_for("OVP trip")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": ""}])
def test_terminals_that_can_t_be_drawn_on_get_lines(fleet: Fleet, variables: dict[str, str]) -> None:
    with watch(fleet, "psu12", **variables) as terminal:
        terminal.wait_for("psu12/1 CH1: ON 4.9998 V")
        fleet.channel("psu12", 2, "tripped")
        terminal.wait_for("psu12/2 CH2: off")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0
        assert b"\x1b" not in terminal.written


def test_no_colour_where_the_user_wants_none(fleet: Fleet) -> None:
    with watch(fleet, NO_COLOR="1") as terminal:
        fleet.channel("psu5", 1, "tripped")
        terminal.wait_for("OVP trip")
        terminal.type("j")
        terminal.wait_until(lambda: b"\x1b[0;7m" in terminal.written, "the selected row")
        shown = {part for codes in re.findall(rb"\x1b\[([\d;]*)m", terminal.written) for part in codes.split(b";")}
        assert shown <= {b"", b"0", b"1", b"2", b"7"}
        terminal.type("q")
        assert terminal.end() == 0


def test_a_terminal_without_unicode_gets_ascii(fleet: Fleet) -> None:
    with watch(fleet, PYTHONIOENCODING="latin-1") as terminal:
        terminal.wait_for("Up/Down select")
        assert terminal.written.isascii()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("psu99", "There is no unit psu99; known are psu1, psu2, psu3, psu4, "),
        ("psu1/7", "psu1 has no channel 7; it has 1, 2 and 3."),
        ("psu1/VDD", "psu1 has no channel VDD; it has 1, 2 and 3."),
    ],
)
def test_an_unknown_target_says_what_exists(fleet: Fleet, target: str, told: str) -> None:
    result = psu_agent("watch", target, "--broker", fleet.url)
    assert (result.returncode, result.stdout) == (1, "")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_unit_where_nothing_is(broker: LocalBroker) -> None:
    result = psu_agent("watch", "psu1", "--broker", f"mqtt://{broker.host}:{broker.port}")
    assert result.returncode == 1
    assert re.search(r"no unit psu1: no agent has published anything under psu/", result.stderr)


def test_a_signal_in_the_moment_of_the_begin_gives_the_terminal_back(tmp_path: Path) -> None:
    program = tmp_path / "begin.py"
    program.write_text(
        "from agent.cli.watching import screen\n"
        "put = screen._put\n"
        "def interrupted(text):\n"
        "    put(text)\n"
        "    if text == screen._ENTER:\n"
        "        raise KeyboardInterrupt\n"
        "screen._put = interrupted\n"
        "try:\n"
        "    screen.Screen().__enter__()\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(3)\n"
    )
    with Terminal(shell=f"{sys.executable} {program}") as terminal:
        assert terminal.end() == 3
        assert terminal.is_as_before()


def test_a_terminal_that_goes_ends_it(fleet: Fleet) -> None:
    terminal = watch(fleet)
    terminal.wait_for("12 of 12 units online")
    os.close(terminal._master)
    terminal.process.wait(30)
