"""`check --connect`: connects to the broker and to every unit, and compares the units with the configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent.client.address import Address
from agent.client.broker.findings import BrokerFindings
from agent.client.broker.measuring import measure, scratch
from agent.client.connection import BrokerError, Client
from agent.config import Config, Mqtt, UnitSettings
from agent.instruments.catalogue import identify
from agent.instruments.claims import tells_no_serial
from agent.instruments.driver import WHAT_TO_CORRECT, DriverError, Identity, IdentityError
from agent.instruments.factory import Lines, make_driver
from agent.protocol.topics import Topics

#: Units that are asked at the same time.
_MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one place: a unit's name or ``broker``.

    ``is_pinned``: its serial number tells the unit from all others. ``remarks``: a sentence for each thing that the broker lacks,
    and ``broker``: all that it was measured for.
    """

    place: str
    address: str
    ok: bool
    text: str
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    milliseconds: float | None = None
    is_pinned: bool = False
    remarks: tuple[str, ...] = ()
    broker: BrokerFindings | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding for JSON."""
        told = asdict(self)
        del told["is_pinned"]
        if self.broker is None:
            del told["remarks"], told["broker"]
        return told


def connect(config: Config) -> Iterator[Finding]:
    """Open the broker and every unit, all at the same time, and yield each finding as it comes. No setting changes."""
    lines = Lines()
    pool = ThreadPoolExecutor(min(_MOST_AT_ONCE, len(config.units) + 1))
    try:
        names = [unit.name for unit in config.units]
        pending = [pool.submit(check_broker, config.settings.mqtt, names, config.settings.agent)]
        pending += [pool.submit(check_unit, unit, config.folder, lines) for unit in config.units]
        serials: dict[tuple[str | None, str], str] = {}
        for done in as_completed(pending):
            finding = done.result()
            yield finding
            if finding.ok and finding.serial and finding.is_pinned:
                key = (finding.model, finding.serial)
                if key in serials:
                    text = f"is the same instrument as {serials[key]}: two addresses, one serial number"
                    yield Finding(finding.place, finding.address, False, text, finding.model, finding.serial)
                serials.setdefault(key, finding.place)
    finally:
        # Not waited for after Ctrl-C: a unit may take long to answer.
        pool.shutdown(wait=False, cancel_futures=True)


def check_broker(settings: Mqtt, units: list[str], agent: str) -> Finding:
    """Connect as the agent would, with the same user, and measure what the broker can do. It takes some seconds, 40 at most.

    What is published for that is removed; no unit listens there.
    """
    address = Address.from_settings(settings)
    began = time.monotonic()
    try:
        with Client(address):
            took = _since(began)
    except BrokerError as error:
        return Finding("broker", str(address), False, str(error))
    topics = Topics(settings.base_topic)
    commands = topics.subscriptions(units)
    found = measure(settings, agent, filters=[*commands, topics.every_info, *topics.every_lease])
    is_heard = not set(commands).intersection(found.refused_filters)
    text = found.problem or f"connected, MQTT {found.version}"
    remarks = tuple(found.missing(scratch(settings, agent)))
    return Finding(
        "broker", str(address), found.is_usable and is_heard, text, milliseconds=took, remarks=remarks, broker=found
    )


def check_unit(unit: UnitSettings, folder: Path, lines: Lines | None = None) -> Finding:
    """Connect to a unit as the agent would: it must answer, and be the one that the configuration means. No setting changes."""
    driver = make_driver(unit, folder, lines=lines)
    finding = partial(Finding, unit.name, driver.address)
    began = time.monotonic()
    try:
        profile = driver.connect()
    except IdentityError as error:
        who = error.identity
        if who is None:
            return finding(False, str(error))
        return finding(False, _mismatch(unit, who, error), who.model, who.serial, who.firmware, _since(began))
    except DriverError as error:
        return finding(False, str(error))
    finally:
        driver.close()
    milliseconds = _since(began)
    identity = profile.identity
    assert identity is not None  # of a driver that is connected
    if unit.commands is None:
        text = _described(identity)
    else:
        channels = ", ".join(
            f"{output.index}" if output.name == f"CH{output.index}" else f"{output.index} ({output.name})"
            for output in profile.outputs
        )
        text = f"{identity.manufacturer} {identity.model}, channels {channels}"
    if profile.power_up is not None:
        text += f"; {profile.power_up}"
    is_pinned = not tells_no_serial(identity)
    return finding(True, text, identity.model, identity.serial, identity.firmware, milliseconds, is_pinned)


def _mismatch(unit: UnitSettings, who: Identity, error: IdentityError) -> str:
    """How a unit differs from its entry in the configuration."""
    if unit.commands is not None:
        return str(error)
    if identify(who, unit.candidates) is None:
        wanted = " or ".join(candidate.name for candidate in unit.candidates)
        return f"is a {_described(who)}, and the configuration says {wanted}; {WHAT_TO_CORRECT}"
    if unit.serial is not None and unit.serial != who.serial and not tells_no_serial(who):
        return f"is {_described(who)}, and the configuration says serial {unit.serial}; correct `serial` or `uri` of its entry"
    return str(error)


def _described(who: Identity) -> str:
    return f"{who.manufacturer} {who.model}, serial {who.serial}, firmware {who.firmware}"


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
