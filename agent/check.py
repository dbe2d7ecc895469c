"""What `check --connect` finds out: does every unit answer, is it the one that the configuration means, and the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from agent import models
from agent.brokeraddress import Address
from agent.client import BrokerError, Client
from agent.configschema import Config, Mqtt, Unit
from agent.visa import LinkError, Session

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
        return asdict(self)


def connect(config: Config) -> Iterator[Finding]:
    """Open the broker and every unit, all at the same time, and yield each finding as it comes. Nothing is changed anywhere."""
    with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(config.units) + 1)) as pool:
        pending = [pool.submit(check_broker, config.settings.mqtt)]
        pending += [pool.submit(check_unit, unit) for unit in config.units]
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


def check_unit(unit: Unit) -> Finding:
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


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
