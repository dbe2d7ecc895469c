"""Random commands: sensible, forbidden, malformed, retained, expired, repeated."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

CHANNELS = (1, 2, 3)
#: V and A that the configuration limits the channels of every unit to; an E36313A could do more.
LIMITS: Mapping[int, tuple[float, float]] = {1: (5.0, 3.0), 2: (12.0, 1.0), 3: (9.0, 0.5)}
ALL = "all"
#: The channel that is turned off when the broker stays away, and after how many s.
LOSS_CHANNEL, LOSS_AFTER = 3, 3.0


@dataclass(frozen=True, slots=True)
class Command:
    """One message on a ``set`` topic, and what is known of it beforehand.

    ``refusals``: the codes, one of which it has to be refused with; empty if it may be carried out. ``group``: commands of one
    group have the same id or Correlation Data, so at most one of them may be carried out on a unit, but for offs.
    ``may_say``: the codes that an off may be answered with although it is done, as something beside it was wrong.
    """

    number: int
    kind: str
    unit: str  # or `ALL`
    channel: int | None  # None: the whole unit
    payload: bytes
    field: str | None = None  # of a bare value
    topic_channel: str | None = None  # where it is not the channel's number
    turns_on: bool = False
    turns_off: bool = False
    wanted: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what the state in the response has to have
    refusals: frozenset[str] = frozenset()
    may_say: frozenset[str] = frozenset()
    retain: bool = False
    expiry: int | None = None
    own_topic: bool = False  # no Response Topic: the response goes to the unit's or the channel's own
    group: int = 0

    @property
    def correlation(self) -> bytes:
        return b"%d" % self.number

    @property
    def indices(self) -> tuple[int, ...]:
        return CHANNELS if self.channel is None else (self.channel,)

    @property
    def topic(self) -> str:
        levels = [self.unit]
        if self.topic_channel is not None or self.channel is not None:
            levels.append(self.topic_channel or str(self.channel))
        levels.append("set")
        if self.field is not None:
            levels.append(self.field)
        return "/".join(levels)


#: As people, shells, templates and Windows write it.
_WORDS_FOR_OFF = (
    b"OFF", b"off", b"Off", b"false", b"False", b"0", b'"OFF"', b'"off"', b" off ", b"off\n", b"OFF\r\n", b"\xef\xbb\xbfOFF",
    b"OFF\x00", b"0\n", b"\tOFF", b"false\x00\x00",
)  # fmt: skip
_OBJECTS_FOR_OFF = (
    b'{"state": false}\n', b'\xef\xbb\xbf{"state": false}', b'{"state": false}\x00', b'{"state": "off"}', b'{"state": 0}',
    b'{"state": "OFF"}', b' {"state":false} ', b'{"state": " off "}', b'{"state": "false"}', b'{"state": "0"}',
)  # fmt: skip
#: How a setting beside an off may be refused: for itself, for its age, or as too much else waits.
_WRONG = frozenset({"bad_payload", "busy", "expired", "limit_exceeded", "out_of_range", "superseded", "unsupported"})


class Commands:
    """An endless supply of them, the same for the same seed. ``next`` gives one or two (a repetition) at a time."""

    def __init__(self, units: list[str], seed: int, stream: str = "commands", *, first: int = 1) -> None:
        self._random = random.Random(f"{stream} {seed}")
        self._units = units
        self._numbers: Iterator[int] = itertools.count(first)
        self._makers: list[tuple[Callable[[], list[Command]], float]] = [
            (self._settings, 20),
            (self._on, 14),
            (self._off, 10),
            (self._odd_off, 6),
            (self._off_beside_wrong, 4),
            (self._repeated_off, 4),
            (self._cycle, 5),
            (self._ramp, 5),
            (self._bare, 8),
            (self._unit, 4),
            (self._clear, 2),
            (self._all_off, 0.4),
            (self._forbidden, 10),
            (self._malformed, 8),
            (self._retained, 3),
            (self._expired, 4),
            (self._repeated, 5),
        ]

    def next(self) -> list[Command]:
        makers, weights = zip(*self._makers, strict=True)
        make: Callable[[], list[Command]] = self._random.choices(makers, weights)[0]
        commands = make()
        own_topic = self._random.random() < 0.5
        return [replace(command, own_topic=own_topic) for command in commands]

    def _make(self, kind: str, data: object, **more: Any) -> Command:
        payload = data if isinstance(data, bytes) else json.dumps(data).encode()
        more.setdefault("unit", self._random.choice(self._units))
        more.setdefault("channel", self._random.choice(CHANNELS))
        number = next(self._numbers)
        return Command(number=number, kind=kind, payload=payload, **{"group": number, **more})

    def _voltage(self, channel: int) -> float:
        return round(self._random.uniform(0, LIMITS[channel][0]), 3)

    def _current(self, channel: int) -> float:
        return round(self._random.uniform(0.05, LIMITS[channel][1]), 3)

    def _settings(self) -> list[Command]:
        channel = self._random.choice(CHANNELS)
        wanted: dict[str, Any] = {}
        if self._random.random() < 0.8:
            wanted["voltage_limit"] = self._voltage(channel)
        if self._random.random() < 0.5 or not wanted:
            wanted["current_limit"] = self._current(channel)
        if self._random.random() < 0.2:
            wanted["voltage_protection"] = round(LIMITS[channel][0] + self._random.uniform(0.5, 1.0), 2)
        if self._random.random() < 0.1:
            wanted["current_protection"] = self._random.random() < 0.5
        return [self._make("settings", self._with_id(wanted), channel=channel, wanted=wanted)]

    def _with_id(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": f"soak-{self._random.getrandbits(64):x}", **data} if self._random.random() < 0.3 else dict(data)

    def _on(self) -> list[Command]:
        channel = self._random.choice(CHANNELS)
        wanted: dict[str, Any] = {"state": True}
        if self._random.random() < 0.6:
            wanted["voltage_limit"] = self._voltage(channel)
        expiry = 30 if self._random.random() < 0.1 else None
        return [self._make("on", self._with_id(wanted), channel=channel, turns_on=True, wanted=wanted, expiry=expiry)]

    def _off(self) -> list[Command]:
        off = self._make("off", {"state": False}, turns_off=True, wanted={"state": False})
        if self._random.random() < 0.4:
            # The hard case: on, and off before the first has been carried out. Off is what it has to be afterwards.
            on = self._make("on", {"state": True}, unit=off.unit, channel=off.channel, turns_on=True)
            return [replace(on, number=off.number, group=off.number), replace(off, number=on.number, group=on.number)]
        return [off]

    def _odd_off(self) -> list[Command]:
        """Forms that can mean nothing but off."""
        channel = self._random.choice([*CHANNELS, None])
        field, payload = self._random.choice(
            [
                *((None, form) for form in _WORDS_FOR_OFF),
                *((None, form) for form in _OBJECTS_FOR_OFF),
                *(("state", form) for form in _WORDS_FOR_OFF),
            ]
        )
        return [self._make("odd off", payload, channel=channel, field=field, turns_off=True)]

    def _off_beside_wrong(self) -> list[Command]:
        """Off, and something that is refused."""
        channel = self._random.choice(CHANNELS)
        voltage, current = LIMITS[channel]
        beside: dict[str, Any] = self._random.choice(
            [
                {"stat": 1},
                {"id": 7},
                {"id": ""},
                {"id": "x" * 300},
                {"voltage_limit": voltage + 0.01},
                {"current_limit": current * 10},
                {"voltage_limit": "5"},
                {"voltage_limit": None},
                {"ramp": 1.0},
                {"cycle": 1.0},
            ]
        )
        data = {"state": False, **beside} if self._random.random() < 0.5 else {**beside, "state": False}
        return [self._make("off beside wrong", data, channel=channel, turns_off=True, may_say=_WRONG)]

    def _repeated_off(self) -> list[Command]:
        """Off with an id, or Correlation Data, that another command had, which need not be an off."""
        same = self._random.choice(["flow", f"again-{self._random.getrandbits(64):x}"])
        off = self._make("off", {"state": False, "id": same}, turns_off=True, wanted={"state": False})
        match self._random.randrange(3):
            case 0:
                return [off, replace(off, number=next(self._numbers), kind="repeated off")]
            case 1:
                return [off, replace(off, kind="repeated off")]
        on = self._make("on", {"state": True, "id": off.number}, unit=off.unit, channel=off.channel)
        on = replace(on, payload=b'{"voltage_limit": 1e9, "id": "%s"}' % same.encode(), kind="forbidden")
        return [
            replace(on, number=off.number, group=on.group, refusals=frozenset({"limit_exceeded", "duplicate"})),
            replace(off, number=on.number, kind="repeated off"),
        ]

    def removal(self, command: Command) -> Command:
        """Removes a retained command from the broker again. It is a command with the retain flag, and empty."""
        return replace(command, number=next(self._numbers), kind="removal", payload=b"")

    def flood(self, count: int) -> list[Command]:
        """Many for one unit at once, an off among them."""
        unit = self._random.choice(self._units)
        offs = self._random.randrange(count)
        found = []
        for number in range(count):
            channel = self._random.choice(CHANNELS)
            if number == offs:
                found.append(self._make("off", b"OFF", unit=unit, channel=channel, turns_off=True))
            else:
                wanted = {"current_limit": self._current(channel)}
                found.append(self._make("flood", wanted, unit=unit, channel=channel, wanted=wanted))
        return found

    def ramps(self) -> list[Command]:
        """A ramp on each channel of a unit, or cycles."""
        unit = self._random.choice(self._units)
        found = []
        for channel in CHANNELS:
            if self._random.random() < 0.3:
                data: dict[str, Any] = {"cycle": round(self._random.uniform(1, 4), 2)}
                found.append(
                    self._make("cycle", data, unit=unit, channel=channel, turns_on=True, wanted={"state": True})
                )
            else:
                wanted = {"voltage_limit": self._voltage(channel), "state": True}
                data = {**wanted, "ramp": round(LIMITS[channel][0] / self._random.uniform(3, 10), 2)}
                found.append(self._make("ramp", data, unit=unit, channel=channel, turns_on=True, wanted=wanted))
        return found

    def _cycle(self) -> list[Command]:
        return [
            self._make("cycle", {"cycle": round(self._random.uniform(0, 2), 2)}, turns_on=True, wanted={"state": True})
        ]

    def _ramp(self) -> list[Command]:
        channel = self._random.choice(CHANNELS)
        wanted: dict[str, Any] = {"voltage_limit": self._voltage(channel)}
        if self._random.random() < 0.4:
            wanted["state"] = True
        rate = round(LIMITS[channel][0] / self._random.uniform(1, 5), 2)
        turns_on = "state" in wanted
        return [self._make("ramp", {**wanted, "ramp": rate}, channel=channel, turns_on=turns_on, wanted=wanted)]

    def _bare(self) -> list[Command]:
        channel = self._random.choice(CHANNELS)
        field, payload, wanted, on, off = self._random.choice(
            [
                ("voltage_limit", b"%.3f" % (v := self._voltage(channel)), {"voltage_limit": v}, False, False),
                ("current_limit", b"%.3f" % (a := self._current(channel)), {"current_limit": a}, False, False),
                ("state", b"ON", {"state": True}, True, False),
                ("state", b"OFF", {"state": False}, False, True),
                ("state", b"1", {"state": True}, True, False),
            ]
        )
        return [self._make("bare", payload, channel=channel, field=field, wanted=wanted, turns_on=on, turns_off=off)]

    def _unit(self) -> list[Command]:
        on = self._random.random() < 0.4
        return [self._make("unit", {"state": on}, channel=None, turns_on=on, turns_off=not on)]

    def _clear(self) -> list[Command]:
        # An output that is on stays on, one that has tripped stays off: the state to be found depends on the one before.
        return [self._make("clear", {"clear_protection": True}, wanted={})]

    def _all_off(self) -> list[Command]:
        payload = self._random.choice([b"OFF", b'{"state": false}'])
        return [self._make("all off", payload, unit=ALL, channel=None, turns_off=True)]

    def _forbidden(self) -> list[Command]:
        channel = self._random.choice(CHANNELS)
        voltage, current = LIMITS[channel]
        choices: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
            ({"voltage_limit": voltage + 0.01}, "limit_exceeded", {}),
            ({"current_limit": current + 0.01, "state": True}, "limit_exceeded", {}),
            ({"state": True, "voltage_limit": 1e6}, "limit_exceeded", {}),
            ({"ramp": 1.0, "voltage_limit": voltage * 2}, "limit_exceeded", {}),
            ({"voltage_limit": -0.5}, "out_of_range", {}),
            ({"voltage_protection": 1000}, "out_of_range", {}),
            ({"state": True}, "unknown_channel", {"topic_channel": "7"}),
            ({"voltage_limit": 1.0}, "unsupported", {"channel": None}),
            ({"state": True}, "bad_payload", {"unit": ALL, "channel": None}),
        ]
        data, code, more = self._random.choice(choices)
        return [self._make("forbidden", data, refusals=frozenset({code}), **{"channel": channel, **more})]

    def _malformed(self) -> list[Command]:
        payload = self._random.choice(
            [
                b"",
                b"on please",
                b"{",
                b"null",
                b"[true]",
                b'{"state": true',
                b'{"voltage_limit": NaN, "state": true}',
                b'{"voltage_limit": 1e999, "state": true}',
                b'{"voltage_limit": "5"}',
                b'{"state": true, "state": false}',
                b'{"state": "maybe"}',
                b'{"stat": true}',
                b'{"state": true, "id": 7}',
                b'{"ramp": 1}',
                b'{"cycle": -1}',
                b'{"state": null}',
                b"\xff\xfe{}",
                b'{"state": true}\x00',
                b"[" * 20_000,
                b'{"a":' * 3000,
                b'{"state": true, "id": "' + b"x" * 1_000_000 + b'"}',
                b"{" + self._random.randbytes(self._random.randrange(1, 200)),
            ]
        )
        return [self._make("malformed", payload, refusals=frozenset({"bad_payload"}))]

    def _retained(self) -> list[Command]:
        return [self._make("retained", {"state": True}, retain=True, refusals=frozenset({"retained"}))]

    def _expired(self) -> list[Command]:
        past = datetime.now(UTC) - timedelta(seconds=self._random.uniform(1, 1e6))
        data = {"state": True, "expires_at": past.isoformat()}
        return [self._make("expired", data, refusals=frozenset({"expired"}))]

    def _repeated(self) -> list[Command]:
        channel = self._random.choice(CHANNELS)
        data = {"state": True, "id": f"twice-{self._random.getrandbits(64):x}"}
        first = self._make("repeated", data, channel=channel, turns_on=True, wanted={"state": True})
        second = replace(first, number=next(self._numbers), kind="repetition")
        if self._random.random() < 0.5:
            # The same Correlation Data instead: the second is to be told from the first by nothing but the code.
            data.pop("id")
            first = replace(first, payload=json.dumps(data).encode())
            second = replace(first, kind="repetition")
        return [first, second]
