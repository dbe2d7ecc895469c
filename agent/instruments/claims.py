"""Which entry of the configuration serves a supply: one supply under two entries would have the limits of neither.

The same supply can stand there twice without its addresses telling: by name and by number, by raw socket and by VXI-11. Its
serial number tells. The entry that stands first in the file serves it while it reaches it; the other one is offline meanwhile.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.instruments.driver import Identity, IdentityError

#: s that an entry may fail to reach its supply until another entry that does reach it takes it over.
PATIENCE = 10.0

_Key = tuple[str, str, str]


@dataclass(slots=True)
class _Claim:
    unit: str
    lost: float | None = None  # the moment (time.monotonic) since which the entry does not reach the supply


class Claims:
    """The supplies of one agent and the units that serve them. For any thread; no call waits for more than a dictionary.

    :param units: their names in the order of the file
    """

    def __init__(self, units: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._claims: dict[_Key, _Claim] = {}
        self._places = {unit: place for place, unit in enumerate(units)}
        self._watchers: dict[str, Callable[[str], None]] = {}

    def watch(self, unit: str, displaced: Callable[[str], None]) -> None:
        """Have a unit told, in another unit's thread, by which unit it was displaced: it is to give its supply up."""
        with self._lock:
            self._watchers[unit] = displaced

    def claim(self, unit: str, identity: Identity) -> str | None:
        """Have a unit serve the supply of that identity, and no other.

        The unit that serves it already; None if there is none, or if it stands behind this one in the file and was displaced.
        """
        key = _key(identity)
        displaced: Callable[[str], None] | None = None
        with self._lock:
            for other in [k for k, claim in self._claims.items() if claim.unit == unit and k != key]:
                del self._claims[other]
            if key is None:
                return None
            claim = self._claims.get(key)
            if claim is not None and claim.unit != unit and _holds(claim):
                if not self._stands_before(unit, claim.unit):
                    return claim.unit
                displaced = self._watchers.get(claim.unit)
            self._claims[key] = _Claim(unit)
        if displaced is not None:
            displaced(unit)
        return None

    def holder(self, identity: Identity) -> str | None:
        """The unit that serves the supply of that identity; None if another one may."""
        key = _key(identity)
        with self._lock:
            claim = self._claims.get(key) if key is not None else None
            return claim.unit if claim is not None and _holds(claim) else None

    def lost(self, unit: str) -> None:
        """Note that a unit does not reach its supply from now on, or still does not."""
        with self._lock:
            for claim in self._claims.values():
                if claim.unit == unit and claim.lost is None:
                    claim.lost = time.monotonic()

    def retain(self, units: Iterable[str]) -> None:
        """Take over the order of a newer file, and release the supplies of units that it does not have."""
        with self._lock:
            self._places = {unit: place for place, unit in enumerate(units)}
            self._claims = {key: claim for key, claim in self._claims.items() if claim.unit in self._places}

    def _stands_before(self, unit: str, other: str) -> bool:
        places = self._places
        return unit in places and other in places and places[unit] < places[other]


def _holds(claim: _Claim) -> bool:
    return claim.lost is None or time.monotonic() - claim.lost < PATIENCE


def tells_no_serial(identity: Identity) -> bool:
    """True if the serial number that a supply tells is one that every unit of its kind tells, such as none or 0.

    It tells two supplies apart in no way, so neither a claim nor ``serial:`` of the configuration can be built on it.
    """
    serial = re.sub(r"[^0-9a-z]", "", identity.serial.casefold())
    # Makers that give no number give a word, zeros, one character over and over or a row of digits, the same to every unit.
    return not re.search("[1-9]", serial) or len(set(serial)) < 2 or serial in _ROW


def check_serial(identity: Identity, wanted: str | None, address: str) -> None:
    """Refuse a supply whose serial number is not the one that the configuration gives, None for any.

    :raises IdentityError: it is another one; or it tells none of its own, so that it can't be told from others
    """
    if wanted is None:
        return
    if tells_no_serial(identity):
        raise IdentityError(
            f"the unit at {address} tells {identity.serial or 'nothing'} as its serial number, as every unit of its kind may, so "
            "`serial` can't pin it; take `serial` out of its entry",
            identity,
        )
    if identity.serial != wanted:
        raise IdentityError(
            f"at {address} is number {identity.serial}, not {wanted}; it gets no commands; correct `serial` or `uri`, or "
            "connect the unit that is meant",
            identity,
        )


def _key(identity: Identity) -> _Key | None:
    """What tells a supply from all others; None where the serial number does not."""
    if tells_no_serial(identity):
        return None
    return identity.manufacturer.casefold(), identity.model.casefold(), identity.serial.casefold()


_ROW = "01234567890123456789"
