"""The link to a configured unit: how its bytes travel, as its series has it, and the line that it shares with others."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from agent.instruments import resource
from agent.instruments.bus.line import Line
from agent.instruments.bus.selection import Selection
from agent.instruments.catalogue import Series
from agent.instruments.catalogue.answers import AnswerPattern
from agent.instruments.catalogue.language import BusAddress
from agent.instruments.catalogue.schema import default_type
from agent.instruments.link import LinkForm, TextLink
from agent.instruments.visa.session import VisaSession


class Lines:
    """The lines of one agent that several units share, as long as one of them has a seat there. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: WeakValueDictionary[tuple[Any, ...], Line] = WeakValueDictionary()

    def line(self, uri: str, backend: str, arguments: Mapping[str, Any], form: LinkForm) -> Line:
        """The line at a resource name: the same one for all units that give the same arguments for it."""
        key = (backend, resource.same_instrument_key(uri), repr(sorted(arguments.items())), form.write, form.read)
        with self._lock:
            found = self._lines.get(key)
            if found is None:
                found = self._lines[key] = Line(VisaSession(uri, backend, arguments, form))
            return found


def make_link(
    uri: str,
    series: Series,
    *,
    backend: str = "@py",
    arguments: Mapping[str, Any] | None = None,
    address: int | None = None,
    lines: Lines | None = None,
) -> TextLink:
    """The link to a unit, not open yet.

    :param uri: its VISA resource name
    :param arguments: of pyvisa's ``open_resource``, which win over those of the series
    :param address: of the unit on its line, see `bus_address`; None where it has the link for itself
    :param lines: those of the agent; None where no other unit is on the line
    :raises agent.instruments.resource.ResourceNameError: a unit with an address is at no resource name
    """
    form = link_form(series, uri)
    if address is None or series.bus is None:
        return VisaSession(uri, backend, arguments, form)
    line = (lines or Lines()).line(uri, backend, arguments or {}, form)
    return line.seat(address, selection(series, address))


def bus_address(series: Series, configured: int | None) -> int | None:
    """The address that a unit is selected by: the configured one, or the one it is delivered with where it wants one always."""
    bus = series.bus
    if configured is not None or bus is None or not bus.needed:
        return configured
    return bus.default


def link_form(series: Series, uri: str) -> LinkForm:
    """How bytes travel to a unit of the series at a resource name."""
    link, serial = series.link, series.link.serial
    arguments: dict[str, Any] = {}
    write, read, gap = link.write, link.read, link.gap
    if serial is not None and link.is_serial(uri):
        write = write if serial.write is None else serial.write
        read = read if serial.read is None else serial.read
        gap = gap if serial.gap is None else serial.gap
        arguments = {
            "baud_rate": serial.baud,
            "data_bits": serial.data_bits,
            "parity": serial.parity,
            "stop_bits": serial.stop_bits,
            "flow_control": serial.flow,
        }
    return LinkForm(
        write=write or "",
        read=read or None,
        silence=link.silence,
        encoding="latin-1" if link.raw else "ascii",
        gap=gap,
        skips_empty=link.skips_empty,
        unasked=re.compile("|".join(f"(?:{one})" for one in link.unasked), re.IGNORECASE) if link.unasked else None,
        arguments=arguments,
    )


def selection(series: Series, address: int) -> Selection:
    """How the unit with that address is selected on a line."""
    bus = series.bus
    assert bus is not None
    places = {"address": str(address)}
    message = series.ask_template(bus.select).filled(places)
    if bus.confirm is None:
        return Selection(message, None, partial(_is_answer, bus), bus.after)
    patterns = tuple(AnswerPattern(text, series.tables, default_type) for text in bus.confirm.answer)
    return Selection(
        message,
        series.ask_template(bus.confirm.ask).filled(places),
        partial(_is_address, patterns, address),
        bus.after,
    )


def _is_answer(bus: BusAddress, answer: str) -> bool:
    return answer.strip() == bus.answer


def _is_address(patterns: tuple[AnswerPattern, ...], address: int, answer: str) -> bool:
    return any(pattern.read(answer) == (address,) for pattern in patterns)
