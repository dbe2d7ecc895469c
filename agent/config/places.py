"""Where units are: no two at one place, and those that share a line each with an address of its own there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.config.faults import FaultList
from agent.config.scalars import as_text, plain
from agent.config.source import KeyPath
from agent.instruments import catalogue, resource


@dataclass(frozen=True, slots=True)
class _Seat:
    """A unit at a resource name. ``line``: all that units of one line have in common."""

    key: str
    address: int | None
    line: dict[str, Any]


#: The keys of `_Seat.line` that stand in the file, each under its name there.
_IN_FILE = ("visabackend", "pyvisa_args")


class Places:
    """The places of the units of one file, as far as they were added."""

    def __init__(self, faults: FaultList) -> None:
        self._faults = faults
        self._seats: dict[tuple[str, ...], list[_Seat]] = {}

    def add(self, path: KeyPath, unit: dict[str, Any]) -> None:
        """Note the faults of where a unit is, by itself and beside those that were added before."""
        faults, here = self._faults, (*path, "uri")
        series = self._series(path, unit)
        address = self._address(path, unit, series)
        if "uri" not in unit or not faults.is_sound(here):
            return
        backend = str(unit.get("visabackend", "@py"))
        # Simulated instruments of different files are different ones.
        key = (backend if backend.endswith("@sim") else "", *resource.same_instrument_key(str(as_text(unit["uri"]))))
        seat = _Seat(faults.source.place(path).key, address, _line(unit, series))
        before = self._seats.setdefault(key, [])
        if before and faults.is_sound((*path, "address")):
            self._beside(path, unit, seat, before, series)
        before.append(seat)

    def _beside(
        self,
        path: KeyPath,
        unit: dict[str, Any],
        seat: _Seat,
        before: list[_Seat],
        series: catalogue.Series | None,
    ) -> None:
        faults = self._faults
        first = before[0]
        if seat.address is None or any(other.address is None for other in before):
            remedy = "give each unit its own"
            if series is not None and _addresses(series) is not None:
                remedy = "give each unit on this line its `address`"
            faults.add((*path, "uri"), f"{str(as_text(unit['uri']))!r} is the address of {first.key} too; {remedy}")
            return
        same = [other for other in before if other.address == seat.address]
        if same:
            faults.add(
                (*path, "address"),
                f"{seat.address} is the address of {same[0].key} on this line too; give each unit its own",
            )
            return
        for name in _IN_FILE:
            if seat.line[name] != first.line[name]:
                faults.add(
                    (*path, name if name in unit else "uri"),
                    f"differs from that of {first.key}, which is on the same line; give both the same {name}",
                )
        known = [] if series is None else [other for other in before if other.line["language"] is not None]
        strange = next((other for other in known if other.line["language"] != seat.line["language"]), None)
        if strange is not None:
            faults.add(
                (*path, "model"),
                f"shares a line with {strange.key}, whose series ({strange.line['series']}) sends at another speed or ends "
                "its messages in another way; give them lines of their own",
            )

    def _series(self, path: KeyPath, unit: dict[str, Any]) -> catalogue.Series | None:
        if "model" not in unit or not self._faults.is_sound((*path, "model")):
            return None
        models = known_models(unit["model"])
        return models[0].series if models else None

    def _address(self, path: KeyPath, unit: dict[str, Any], series: catalogue.Series | None) -> int | None:
        """The address that a unit is given."""
        here = (*path, "address")
        address = plain(unit.get("address"))
        if not isinstance(address, int) or isinstance(address, bool) or not self._faults.is_sound(here):
            return None
        if series is None:
            return address
        known = _addresses(series)
        if known is None:
            self._faults.add(here, f"{series.name} has no addresses on a line; take it out")
        elif not known[0] <= address <= known[1]:
            self._faults.add(
                here, f"{address} is no address of a {series.name}; give a number from {known[0]} to {known[1]}"
            )
        return address


def known_models(text: object) -> tuple[catalogue.Model, ...]:
    """The models that a `model` without a fault means; none where a series file could not be used."""
    try:
        return catalogue.candidates(str(as_text(text)))
    except catalogue.UnknownModelError:
        return ()


def _addresses(series: catalogue.Series) -> tuple[int, int] | None:
    """The least and the greatest address of units of a series; None where they share no line."""
    if series.bus is not None:
        return series.bus.addresses
    # Modbus: every message begins with the address.
    return (1, 247) if series.modbus is not None else None


def _line(unit: dict[str, Any], series: catalogue.Series | None) -> dict[str, Any]:
    arguments = unit.get("pyvisa_args")
    link = None if series is None else series.link
    return {
        "visabackend": str(unit.get("visabackend", "@py")),
        "pyvisa_args": {name: plain(value) for name, value in arguments.items()} if isinstance(arguments, dict) else {},
        "series": None if series is None else series.name,
        "language": None if link is None else (link.write, link.read, link.gap, link.raw, link.serial),
    }
