"""Who is at an address: questions that no language takes for a setting, and the series that understands the answer.

On a serial line nothing tells which language a unit speaks, nor at which speed. The questions of the series are asked there
one after another, each at the speeds of its series. None of them is a setting in the language of another series: ``*IDN?``
stands in the standard, ``GMOD`` and ``GMAX`` are words of one language and unknown to the others, ``ADR 6`` selects a unit of a
Genesys line and sets nothing. ``INST:NSEL``, by which a Z+ is addressed, is not sent: others select an output by it.

Modbus is asked when all else was, at every speed: a question in Modbus has no end that a text language knows, so a unit that
speaks text would keep it for the beginning of its next message. An empty line follows, which ends it there. Units that speak
Modbus pass over text: it is no frame.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.instruments.bus.line import Seat
from agent.instruments.catalogue import Model, Series, all_series, identify, models_of
from agent.instruments.driver import DriverError, Identity, IdentityError, LinkError, MalformedAnswerError
from agent.instruments.factory import make_driver
from agent.instruments.linking import bus_address, make_link
from agent.instruments.modbus.frames import missing
from agent.instruments.text.identified import parse_identity, told_by
from agent.instruments.visa.session import VisaSession

STANDARD = "*IDN?"
#: ms for an answer on a serial line: the slowest unit takes 0.2 s, and 40 characters at 1,200 baud 0.35 s.
_SERIAL_TIMEOUT = 800
#: ms for an answer of each further address of a line.
_BUS_TIMEOUT = 300
#: s of silence before a frame of Modbus, so that the unit does not take it for the rest of a line: 3.5 characters at 1,200 baud.
_FRAME_PAUSE = 0.04
#: Messages that begin the turn of a unit on a line and are no setting in any other language.
_HARMLESS_SELECTIONS = re.compile(r"ADR \{address\}")


@dataclass(frozen=True, slots=True)
class Recognized:
    """A unit: its identity, its model if it is supported, and what an entry of `units:` needs besides."""

    identity: Identity
    model: Model | None
    address: int | None = None
    baud: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """The parts of a configured unit that a driver needs."""

    model: str
    uri: str
    address: int | None = None
    pyvisa_args: dict[str, Any] = field(default_factory=dict)
    name: str = "scan"
    visabackend: str = "@py"
    serial: None = None
    commands: None = None
    channels: dict[int, Any] = field(default_factory=dict)


def recognized(answer: str, among: Iterable[Series] | None = None) -> tuple[Identity, Model | None]:
    """The identity that an answer tells, and the model of the series that understands it.

    :raises IdentityError: it is none in any language
    """
    for series in all_series() if among is None else among:
        if series.modbus is not None or (among is None and series.identify.ask != STANDARD):
            continue
        try:
            told = told_by(series, answer)
        except IdentityError:
            continue
        who = Identity(
            told.get("manufacturer") or series.manufacturer,
            told.get("model", ""),
            told.get("serial", ""),
            told.get("firmware", ""),
        )
        model = identify(who, models_of(series)) if who.model else None
        if model is not None:
            return who, model
    return parse_identity(answer), None


def recognize(uri: str, *, open_timeout: int, timeout: int) -> Recognized:
    """Who is at a VISA resource name that is no serial line. It is asked ``*IDN?`` and nothing else.

    :param open_timeout: ms to open the link
    :param timeout: ms for the answer
    :raises DriverError: no answer, or one that is no identity
    """
    session = VisaSession(uri, "@py", {"open_timeout": open_timeout, "timeout": timeout})
    try:
        session.open()
        return Recognized(*recognized(session.ask(STANDARD) or session.ask(STANDARD)))
    finally:
        session.close()


def recognize_serial(uri: str, timeout: int = _SERIAL_TIMEOUT) -> list[Recognized]:
    """Who is at a serial line, in whatever known language and at whatever known speed: one unit, or several by their addresses.

    :param timeout: ms for each answer
    :raises DriverError: the port can't be opened, nobody answered, or a unit did in Modbus that no series knows
    """
    asked: list[int] = []
    for baud, together in questions():
        first = together[0]
        asked.append(baud)
        if first.modbus is not None:
            if (unit := _by_modbus(uri, together, baud, timeout)) is not None:
                return [unit]
            continue
        found: list[Recognized] = []
        for address in _addresses(first, everyone=baud in _usual(first)):
            quick = min(timeout, _BUS_TIMEOUT) if found or address != bus_address(first, None) else timeout
            try:
                found.append(_by_text(uri, together, baud, quick, address))
            except DriverError as error:
                if _is_shut(error):
                    raise
        if found:
            return found
    speeds = ", ".join(map(str, sorted(set(asked))))
    raise LinkError(
        f"nobody answered in any known language at {speeds} baud; is the unit on, and set to this "
        "interface and one of these speeds?"
    )


def modbus_missing() -> str | None:
    """A sentence if units that speak Modbus can't be looked for, with what to do; None if they can."""
    reason, names = missing(), ", ".join(series.name for series in all_series() if series.modbus is not None)
    return None if reason is None else f"units that speak Modbus ({names}) were not looked for: that {reason}"


def _addresses(series: Series, *, everyone: bool) -> list[int | None]:
    """The addresses to ask: that of a unit as it is delivered, and all others of its line."""
    if series.bus is None:
        return [None]
    least, most = series.bus.addresses
    others: list[int | None] = [number for number in range(least, most + 1) if number != series.bus.default]
    return [series.bus.default, *(others if everyone else [])]


def questions() -> Iterator[tuple[int, list[Series]]]:
    """The questions for a serial line, in the order in which they are asked: the speed, and the series that ask alike.

    First each at the speed that units are delivered with, ``*IDN?`` before others; then at other speeds. Modbus comes last, if
    its library is there, all of its series at each speed of one of them: whose answer it is shows by the signature.
    """
    groups: dict[tuple[Any, ...], list[Series]] = {}
    for series in all_series():
        if series.link.serial is None or not (series.bus is None or _HARMLESS_SELECTIONS.fullmatch(series.bus.select)):
            continue
        how, serial = series.identify, series.link.serial
        # Two stop bits are taken for one and a pause; what ends an answer shows when it comes.
        shape = (serial.write or series.link.write, serial.data_bits, serial.parity, series.link.acknowledges_queries)
        groups.setdefault((how.ask, *shape) if series.modbus is None else ("modbus",), []).append(series)
    by_modbus = groups.pop(("modbus",), [])
    order = sorted(groups.values(), key=lambda one: (one[0].bus is not None, one[0].identify.ask != STANDARD))
    yield from _at_speeds(order)
    if missing() is None:
        yield from _at_speeds([by_modbus])


def _at_speeds(order: list[list[Series]]) -> Iterator[tuple[int, list[Series]]]:
    """Each group at each speed of its series, the usual speeds of all before the others."""
    done: set[tuple[int, int]] = set()
    for speeds_of in (_usual, _other):
        for number, together in enumerate(order):
            for baud in dict.fromkeys(baud for series in together for baud in speeds_of(series)):
                if (number, baud) not in done:
                    done.add((number, baud))
                    yield baud, together


def _usual(series: Series) -> tuple[int, ...]:
    serial = series.link.serial
    return () if serial is None else (serial.baud,)


def _other(series: Series) -> tuple[int, ...]:
    serial = series.link.serial
    return () if serial is None else serial.speeds


def _by_text(uri: str, together: list[Series], baud: int, timeout: int, address: int | None) -> Recognized:
    first = together[0]
    arguments = {"baud_rate": baud, "timeout": timeout, "open_timeout": 2000}
    link = make_link(uri, first, arguments=arguments, address=address)
    try:
        link.open()
        # Some answer the first question after the power came with an empty line.
        answer = link.ask(first.identify.ask) or link.ask(first.identify.ask)
    finally:
        link.close()
    who, model = recognized(
        answer, [*together, *(one for one in all_series() if one.identify.ask == first.identify.ask)]
    )
    usual = model.series.link.serial if model is not None else None
    return Recognized(
        who, model, address if isinstance(link, Seat) else None, None if usual and usual.baud == baud else baud
    )


def _by_modbus(uri: str, together: list[Series], baud: int, timeout: int) -> Recognized | None:
    """The unit at address 1, as units are delivered; None if nobody answers. It is read only.

    All series are asked, as the registers of a signature hold settings or measurements in another series.

    :raises DriverError: the port can't be opened, or a unit answered that no series knows, or more than one
    """
    found: list[tuple[Series, Recognized]] = []
    unknown: list[str] = []
    for series in together:
        try:
            found.append((series, _read(uri, series, baud, timeout)))
        except (IdentityError, MalformedAnswerError) as error:
            who = error.identity if isinstance(error, IdentityError) else None
            unknown.append(f"as a {series.name} it has {who.model}" if who else f"it is no {series.name}: {error}")
        except LinkError as error:
            if _is_shut(error):
                raise
    if len(found) == 1:
        series, unit = found[0]
        if unit.baud is not None:
            # A port that has no speed, as that of a USB interface, needs none in the entry.
            with contextlib.suppress(DriverError):
                return _read(uri, series, _usual(series)[0], timeout)
        return unit
    if found:
        names = " or a ".join(f"{unit.identity.manufacturer} {unit.identity.model}" for _, unit in found)
        raise IdentityError(f"a unit answers in Modbus at {baud} baud that may be a {names}; see its label")
    if unknown:
        raise IdentityError(
            f"a unit answers in Modbus at {baud} baud, but no series file knows it ({'; '.join(unknown)})"
        )
    _end_line(uri, together[0], baud, timeout)
    return None


def _read(uri: str, series: Series, baud: int, timeout: int) -> Recognized:
    driver = make_driver(_Entry(series.name, uri, pyvisa_args={"baud_rate": baud, "timeout": timeout}), Path())
    try:
        profile = driver.connect()
    finally:
        driver.close()
    if profile.identity is None:
        raise IdentityError("it does not tell who it is")
    model = next((one for one in models_of(series) if one.name == profile.model), None)
    return Recognized(profile.identity, model, None, None if baud in _usual(series) else baud)


def _end_line(uri: str, series: Series, baud: int, timeout: int) -> None:
    """Send an empty line, with which a unit that speaks text throws away what it got in Modbus."""
    link = make_link(
        uri,
        series,
        arguments={"baud_rate": baud, "timeout": timeout, "open_timeout": 2000, "write_termination": "\r\n"},
    )
    try:
        link.open()
        link.tell("")
    except LinkError as error:
        if _is_shut(error):
            raise
    finally:
        link.close()
    time.sleep(_FRAME_PAUSE)


def _is_shut(error: DriverError) -> bool:
    """True if the port itself can't be opened, so that no other question gets further."""
    return isinstance(error, LinkError) and str(error).startswith("can't open")
