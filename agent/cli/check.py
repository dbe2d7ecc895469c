"""What `check --connect` finds out: does every unit answer, is it the one that the configuration means, and the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.client.address import Address
from agent.client.connection import BrokerError, Client
from agent.config import Config, Mqtt, UnitSettings
from agent.instruments import catalogue as models
from agent.instruments.external.external import ExternalLink, read_answer
from agent.instruments.visa.session import LinkError, Session

#: Units that are asked at the same time.
_MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at one place: a unit's name or ``broker``."""

    place: str
    address: str
    ok: bool
    text: str
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    milliseconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding for JSON."""
        return asdict(self)


def connect(config: Config) -> Iterator[Finding]:
    """Open the broker and every unit, all at the same time, and yield each finding as it comes. Nothing is changed anywhere."""
    with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(config.units) + 1)) as pool:
        pending = [pool.submit(check_broker, config.settings.mqtt)]
        pending += [
            pool.submit(check_unit, unit) if unit.commands is None else pool.submit(check_external, unit, config.folder)
            for unit in config.units
        ]
        serials: dict[tuple[str | None, str], str] = {}
        for done in as_completed(pending):
            finding = done.result()
            yield finding
            if finding.ok and finding.serial:
                key = (finding.model, finding.serial)
                if key in serials:
                    text = f"is the same instrument as {serials[key]}: two addresses, one serial number"
                    yield Finding(finding.place, finding.address, False, text, finding.model, finding.serial)
                serials.setdefault(key, finding.place)


def check_broker(settings: Mqtt) -> Finding:
    """Connect as the agent would, with the same user."""
    address = Address.from_settings(settings)
    began = time.monotonic()
    try:
        with Client(address) as client:
            text = f"connected, MQTT {client.protocol}"
    except BrokerError as error:
        return Finding("broker", str(address), False, str(error))
    return Finding("broker", str(address), True, text, milliseconds=_since(began))


def check_unit(unit: UnitSettings) -> Finding:
    """Open a unit, ask who it is and compare."""
    session = Session(unit.uri, unit.visabackend, unit.pyvisa_args)
    began = time.monotonic()
    try:
        session.open()
        answer = session.ask("*IDN?")
        found = models.parse_identification(answer)
    except (LinkError, models.IdentityError) as error:
        return Finding(unit.name, unit.uri, False, str(error))
    finally:
        session.close()
    milliseconds = _since(began)
    model = models.identify(found)
    described = f"{found.manufacturer} {found.model}, serial {found.serial}, firmware {found.firmware}"
    problem = None
    if model is None or model not in unit.candidates:
        wanted = " or ".join(candidate.name for candidate in unit.candidates)
        problem = f"is a {described}, and the configuration says {wanted}"
    elif unit.serial is not None and unit.serial != found.serial:
        problem = f"is {described}, and the configuration says serial {unit.serial}"
    return Finding(
        unit.name,
        unit.uri,
        problem is None,
        problem or described,
        found.model,
        found.serial,
        found.firmware,
        milliseconds,
    )


def check_external(unit: UnitSettings, folder: Path) -> Finding:
    """Run the programs that read a unit of model `external`, as the agent would."""
    link = ExternalLink(unit, folder)
    began = time.monotonic()
    try:
        link.open()
        answer = read_answer(link.ask())
    except (LinkError, models.MalformedAnswerError) as error:
        return Finding(unit.name, unit.address, False, str(error))
    channels = ", ".join(
        f"{channel.index} ({channel.name})" if channel.name else f"{channel.index}" for channel in answer.channels
    )
    text, well = f"{answer.manufacturer} {answer.model}, channels {channels}", True
    if unit.serial is not None and unit.serial != answer.serial:
        text, well = f"tells the serial number {answer.serial!r}, and the configuration says {unit.serial!r}", False
    return Finding(unit.name, unit.address, well, text, answer.model, answer.serial, answer.firmware, _since(began))


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
