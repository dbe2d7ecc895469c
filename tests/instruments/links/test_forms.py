"""How bytes travel: terminators or none, several lines, lines without a question, gaps; on serial lines and on sockets."""

from __future__ import annotations

import re
import termios
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import LinkError
from agent.instruments.link import LinkForm
from agent.instruments.visa.session import VisaSession
from tests.instruments.links.bytewise import Answer, ByteUnit
from tests.lab import wait_until
from tests.properties import examples

pytestmark = pytest.mark.parametrize("serial", [True, False], ids=["serial", "socket"])

RAW = LinkForm(write="", read=None, silence=0.5, encoding="latin-1")
CR = LinkForm(write="\r", read="\r")
TIMES = {"timeout": 1000, "open_timeout": 2000}


def opened(unit: ByteUnit, form: LinkForm, **options: object) -> VisaSession:
    session = VisaSession(unit.uri, options={**TIMES, **options}, form=form)
    session.open()
    return session


def test_answers_that_nothing_ends_have_a_length(serial: bool) -> None:
    """Also such whose bytes are line ends, and such of which the last byte comes or does not come."""
    answers: dict[bytes, Answer] = {
        b"VOUT1?": b"05.00",
        b"ISET1?": [(0.0, b"1.00"), (0.02, b"0K")],
        b"STATUS?": b"\n",
        b"ISET2?": b"2.000",
    }
    with ByteUnit(answers.__getitem__, serial=serial) as unit:
        session = opened(unit, RAW)
        assert session.ask("VOUT1?", (5, 5)) == "05.00"
        assert session.ask("ISET1?", (5, 6)) == "1.000K"
        assert session.ask("STATUS?", (1, 1)) == "\n"
        assert session.ask("ISET2?", (5, 6)) == "2.000"
        session.close()
        assert unit.received == list(answers)


def test_an_answer_without_a_length_ends_by_silence(serial: bool) -> None:
    with ByteUnit(lambda _: [(0.0, b"KORAD"), (0.02, b"KA3005P"), (0.02, b"V2.0\n")], serial=serial) as unit:
        session = opened(unit, RAW)
        assert session.ask("*IDN?") == "KORADKA3005PV2.0"
        session.close()


def test_an_answer_that_is_too_short_is_none(serial: bool) -> None:
    with ByteUnit(lambda _: b"05.0", serial=serial) as unit:
        session = opened(unit, RAW)
        with pytest.raises(LinkError, match="Timeout"):
            session.ask("VOUT1?", (5, 5))
        assert not session.is_open


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_line_end_behind_an_answer_of_known_length_is_none(serial: bool, end: bytes) -> None:
    """Other firmware of such a unit ends its answers. A line end that is an answer by itself stays one."""
    answers = {b"VOUT1?": b"05.00" + end, b"STATUS?": b"\n" + end, b"IOUT1?": b"0.500" + end}
    with ByteUnit(answers.__getitem__, serial=serial) as unit:
        session = opened(unit, RAW)
        for message, answer in [("VOUT1?", "05.00"), ("STATUS?", "\n"), ("IOUT1?", "0.500")]:
            assert session.ask(message, (len(answer), len(answer))) == answer
            wait_until(lambda: pending(session) == end, "the line end")
        session.close()


def test_bytes_behind_an_answer_are_not_taken_for_the_next_one(serial: bool) -> None:
    with ByteUnit(lambda _: b"05.00?", serial=serial) as unit:
        session = opened(unit, RAW)
        assert session.ask("VOUT1?", (5, 5)) == "05.00"
        wait_until(lambda: pending(session) == b"?", "the byte too many")
        with pytest.raises(LinkError, match="nobody asked for"):
            session.ask("VOUT1?", (5, 5))
        assert len(unit.received) == 1


def pending(session: VisaSession) -> bytes:
    resource: Any = session._resource
    return bytes(resource.visalib.sessions[resource.session].pending())


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_terminators_are_those_of_the_form(serial: bool, end: str) -> None:
    with ByteUnit(lambda _: b"5.0" + end.encode(), serial=serial) as unit:
        session = opened(unit, LinkForm(write=end, read=end))
        assert [session.ask("MV?"), session.ask("MV?")] == ["5.0", "5.0"]
        session.tell("PV 1")
        session.close()
        wait_until(lambda: b"".join(unit.received).endswith(f"PV 1{end}".encode()), "the last message")


def test_the_users_arguments_win(serial: bool) -> None:
    with ByteUnit(lambda _: b"5.0\r", serial=serial) as unit:
        session = opened(unit, LinkForm(), read_termination="\r", write_termination="\r\n")
        assert session.ask("MV?") == "5.0"
        session.close()
        assert unit.received == [b"MV?\r\n"]


def test_the_parameters_of_a_line(serial: bool) -> None:
    """Those that a socket does not have are left out there; the user's win."""
    form = LinkForm(arguments={"baud_rate": 19200, "stop_bits": 2, "flow_control": "none"})
    with ByteUnit(lambda _: b"ok\n", serial=serial) as unit:
        session = opened(unit, form, **({"baud_rate": 4800} if serial else {}))
        if serial:
            _, _, control, _, _, speed, _ = termios.tcgetattr(unit.slave)
            assert speed == termios.B4800
            assert control & termios.CSTOPB
        assert session.ask("?") == "ok"
        session.close()


def test_answers_of_several_lines(serial: bool) -> None:
    with ByteUnit(lambda data: b"050010\rOK\r" if data == b"GETS\r" else b"OK\r", serial=serial) as unit:
        session = opened(unit, CR)
        with session.exchange():
            assert session.ask("GETS") == "050010"
            assert session.listen() == "OK"
        assert session.ask("VOLT050") == "OK"
        with pytest.raises(LinkError, match="Timeout"):
            session.listen()


def test_empty_lines_are_skipped_where_the_form_says_so(serial: bool) -> None:
    with ByteUnit(lambda _: b"\r\n\r\n5.0\r\n", serial=serial) as unit:
        session = opened(unit, LinkForm(skips_empty=True))
        assert [session.ask("A?"), session.ask("B?")] == ["5.0", "5.0"]
        session.close()
        plain = opened(unit, LinkForm())
        assert plain.ask("A?") == ""
        plain.close()


@pytest.mark.parametrize("skips_empty", [False, True])
@pytest.mark.parametrize("answer", [b"5.0\r\n", [(0.0, b"5.0\r"), (0.02, b"\n")]])
def test_a_line_feed_behind_a_carriage_return_is_no_answer(serial: bool, answer: Answer, skips_empty: bool) -> None:
    with ByteUnit(lambda _: answer, serial=serial) as unit:
        session = opened(unit, LinkForm(write="\r", read="\r", skips_empty=skips_empty))
        for _ in range(3):
            assert session.ask("A?") == "5.0"
            wait_until(lambda: pending(session) == b"\n", "the line feed")
        session.close()


def test_an_empty_answer_in_front_of_a_carriage_return_stays_one(serial: bool) -> None:
    with ByteUnit(lambda _: b"\r", serial=serial) as unit:
        session = opened(unit, CR)
        assert session.ask("A?") == ""
        session.close()


UNASKED = LinkForm(unasked=re.compile(r"\*\*ERROR: .*|!\d\d"))


def test_lines_that_come_without_a_question_are_never_answers(serial: bool) -> None:
    answers: dict[bytes, Answer] = {
        b"VOLT 99\n": b"",
        b"VOLT?\n": b'**ERROR: -222,"Data out of range"\n5.0\n',
        b"CURR?\n": b"1.0\n!06\n",
        b"OUTP?\n": b"1\n",
    }
    with ByteUnit(answers.__getitem__, serial=serial) as unit:
        session = opened(unit, UNASKED)
        session.tell("VOLT 99")
        wait_until(lambda: unit.received == [b"VOLT 99\n"], "the setting")
        assert session.ask("VOLT?") == "5.0"
        assert session.unasked() == ['**ERROR: -222,"Data out of range"']
        assert session.ask("CURR?") == "1.0"
        wait_until(lambda: session.unasked() == ["!06"], "the line behind the answer")
        unit.send(b"!07\n")
        wait_until(lambda: pending(session) == b"!07\n", "it")
        assert session.ask("OUTP?") == "1"
        assert session.unasked() == ["!07"]
        session.close()


def test_other_lines_without_a_question_are_a_fault(serial: bool) -> None:
    with ByteUnit(lambda _: b"5.0\n", serial=serial) as unit:
        session = opened(unit, UNASKED)
        assert session.ask("VOLT?") == "5.0"
        unit.send(b"4.0\n")
        wait_until(lambda: pending(session) == b"4.0\n", "it")
        with pytest.raises(LinkError, match=r"nobody asked for: '4\.0'"):
            session.ask("VOLT?")
        assert not session.is_open


def test_a_unit_that_sends_such_lines_without_end_gives_no_answer(serial: bool) -> None:
    with ByteUnit(lambda _: [(0.0, b"!06\n")] * 200 + [(0.2, b"!06\n")] * 20, serial=serial) as unit:
        session = opened(unit, UNASKED)
        with pytest.raises(LinkError, match="no answer"):
            session.ask("VOLT?")


def test_the_gap_is_kept_after_answers_and_after_settings(serial: bool) -> None:
    with ByteUnit(lambda data: b"1\n" if b"?" in data else b"", serial=serial) as unit:
        session = opened(unit, LinkForm(gap=0.5))
        assert session.ask("A?") == "1"
        session.tell("B")
        session.tell("C")
        assert session.ask("D?") == "1"
        session.rest(1.0)
        session.tell("E")
        wait_until(lambda: len(unit.received) == 5, "all of it")
        session.close()
        gaps = [later - earlier for earlier, later in zip(unit.arrived, unit.arrived[1:], strict=False)]
    assert unit.received == [b"A?\n", b"B\n", b"C\n", b"D?\n", b"E\n"]  # never two in one piece
    # A moment is noted by the unit's thread, which may be late: only the sum of the gaps has a bound.
    assert sum(gaps) >= 3 * 0.5 + 1.0 - 0.02


def test_the_gap_begins_where_a_slow_answer_ends(serial: bool) -> None:
    with ByteUnit(lambda _: [(0.2, b"1\n")], serial=serial) as unit:
        session = opened(unit, LinkForm(gap=0.15))
        for _ in range(3):
            assert session.ask("A?") == "1"
        session.close()
        gaps = [later - earlier for earlier, later in zip(unit.arrived, unit.arrived[1:], strict=False)]
    assert min(gaps) >= 0.2 + 0.15


def test_no_gap_where_the_form_has_none(serial: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with ByteUnit(lambda _: b"1\n", serial=serial) as unit:
        session = opened(unit, LinkForm())
        monkeypatch.setattr("agent.instruments.visa.session.time.sleep", pauses.append)
        for _ in range(3):
            session.ask("A?")
        monkeypatch.undo()
        session.close()
    assert pauses == []


def test_a_line_is_emptied(serial: bool) -> None:
    with ByteUnit(lambda _: [(0.0, b"late "), (0.05, b"answer\n")], serial=serial) as unit:
        session = opened(unit, LinkForm())
        session.tell("A?")
        wait_until(lambda: bool(pending(session)), "the first of it")
        assert session.drain(1.0) == b"late answer\n"
        assert session.drain(0) == b""
        assert session.ask("B?") == "late answer"
        session.close()


def test_a_line_feed_behind_an_answer_is_dropped_and_not_told(serial: bool) -> None:
    with ByteUnit(lambda _: b"OK\r\n", serial=serial) as unit:
        session = opened(unit, CR)
        for silence in (0.0, 0.05):
            assert session.ask("ADR 6") == "OK"
            wait_until(lambda: pending(session) == b"\n", "the line feed")
            assert session.drain(silence) == b""
            assert pending(session) == b""
        session.close()


def test_a_line_that_does_not_become_silent_is_given_up(serial: bool) -> None:
    with ByteUnit(lambda _: [(0.0, b"x" * 1000)] * 40, serial=serial) as unit:
        session = opened(unit, LinkForm())
        session.tell("A?")
        wait_until(lambda: bool(pending(session)), "the first of it")
        with pytest.raises(LinkError, match="no end of them"):
            session.drain(0.3)
        assert not session.is_open


@pytest.mark.hypothesis
@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=5))
@examples(25)
def test_every_byte_of_an_answer_of_known_length_comes_through(serial: bool, answers: list[bytes]) -> None:
    left = iter(answers)
    with ByteUnit(lambda _: next(left), serial=serial) as unit:
        session = opened(unit, RAW)
        got = [session.ask("?", (len(one), len(one))) for one in answers]
        session.close()
    assert got == [one.decode("latin-1") for one in answers]


@pytest.mark.parametrize("asks", [True, False])
def test_bytes_that_come_one_by_one_and_do_not_end_hold_up_nobody(serial: bool, asks: bool) -> None:
    """A neighbour on a line, or a unit that answers in raw bytes: an off would wait until there are thousands of them."""
    dribble: Answer = [(0.02, b"x")] * 300
    with ByteUnit(lambda _: dribble, serial=serial) as unit:
        session = opened(unit, LinkForm(write="", read=None, silence=2.0) if asks else CR)
        with pytest.raises(LinkError, match="bytes that do not end: b'xx"):  # noqa: PT012 - either way of reading them
            if asks:
                session.ask("*IDN?")
            else:
                session.tell("OUT1")
                session.drain(2.0)
        assert not session.is_open
