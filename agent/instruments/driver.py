"""The interface of a driver: all that the agent knows of an instrument passes through it.

Four methods make a driver: `connect`, `poll`, `write`, `close`. The others have defaults, for drivers that can do more. One
driver serves one unit, in the thread of that unit's worker; only `hurry` is called from other threads. After a `DriverError`
nothing but `connect` brings a driver back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.protocol.messages import Mode, Trip
from agent.protocol.quantities import BY_NAME, SETTINGS, Setting

#: True when an off waits for this unit. A driver asks between any two messages of a poll, and drops the poll then.
GiveWay = Callable[[], bool]


class DriverError(Exception):
    """The instrument can't be served; the text says why. Only `Driver.connect` can bring it back."""


class LinkError(DriverError):
    """The link failed: no answer, or one that breaks the protocol. Nothing that was sent since the last answer is certain."""


class LinkClosedError(LinkError):
    """The instrument closed the link.

    ``sent``: False if that was seen before the last message, of which nothing was sent; True if it may have got there.
    """

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class UnaskedBytesError(LinkError):
    """Bytes had come in that nobody asked for; so the message was not sent: they may have been taken for its answer."""


class MalformedAnswerError(DriverError):
    """The instrument's answer does not have the form that the question asks for."""


class IdentityError(DriverError):
    """The instrument at the address is not the one that the configuration expects. It gets no commands.

    ``identity``: the identity that it told, None if it told none.
    """

    def __init__(self, text: str, identity: Identity | None = None) -> None:
        super().__init__(text)
        self.identity = identity


#: Behind the sentence on an instrument that is not the one that the configuration expects.
WHAT_TO_CORRECT = "correct `model` or `uri` of its entry, or connect the unit that is meant"


class Range(NamedTuple):
    """An interval that includes both ends, in V or A."""

    min: float
    max: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.min <= value <= self.max


class Reading(NamedTuple):
    """One channel in one poll, in V and A; None for a value that the instrument can't tell.

    ``state``: None also where the output has a switch that can't be read. ``tripped`` may be set while it is True: some
    instruments say that an output is on during a trip.
    """

    voltage: float | None
    current: float | None
    voltage_limit: float | None
    current_limit: float | None
    state: bool | None
    voltage_protection: float | None
    current_protection: bool | None
    mode: Mode | None
    tripped: Trip | None
    current_protection_level: float | None = None
    voltage_protection_state: bool | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that an instrument tells: the four fields of ``*IDN?`` (IEEE 488.2, 10.14), or their equivalents."""

    manufacturer: str
    model: str
    serial: str
    firmware: str


@dataclass(frozen=True, slots=True)
class Output:
    """One output of an instrument and what it can be set to.

    ``settings``: the settings that `Driver.write` takes for it. ``ranges``: of its settings with a number, by their names (V, A);
    one without a range there may not be set. Ratings are what the output is sold as, as magnitudes (V, A). A resolution is the
    largest difference between a setting that was sent and the one that is read back (V, A); ``resolutions``: those of trip
    levels that move in other steps than the settings, by their names. ``power_max``: the most that the product of its
    ``voltage_limit`` and its ``current_limit`` may be (W); None where each may be set to its own end.
    ``unsupported``: for settings that it does not take, a sentence that says why not and what to do. ``tells``: the quantities
    of a channel's state that its answers hold, with those that are computed from them; None while that is not known.
    """

    index: int
    name: str
    voltage_resolution: float
    current_resolution: float
    ranges: Mapping[str, Range] = field(default_factory=dict)
    voltage_rating: float | None = None
    current_rating: float | None = None
    settings: frozenset[Setting] = frozenset()
    power_max: float | None = None
    unsupported: Mapping[str, str] = field(default_factory=dict)
    resolutions: Mapping[str, float] = field(default_factory=dict)
    tells: frozenset[str] | None = None

    def resolution(self, setting: str) -> float:
        """How far a setting with a number may be from the one that was sent when it is read back (V, A)."""
        default = self.current_resolution if BY_NAME[setting].unit == "A" else self.voltage_resolution
        return self.resolutions.get(setting, default)

    def range(self, setting: str) -> Range | None:
        """The values that it takes for a setting (V, A); None where it has no such setting, or the range is not known."""
        return self.ranges.get(setting)


@dataclass(frozen=True, slots=True)
class Profile:
    """An instrument as far as it is known: before it has answered from the configuration alone, then from itself.

    ``model``: None while the configuration leaves several open. ``identity``: None until it has answered. ``outputs``: by
    their numbers, empty where only the instrument can tell. ``effort``: what a poll costs, for the log, such as ``one message``.
    ``together``: groups of outputs that one switch of the instrument acts on, always; an output is in one at most.
    ``power_up``: a sentence for people if its outputs come back by themselves when the mains return.
    """

    model: str | None
    outputs: tuple[Output, ...]
    identity: Identity | None = None
    effort: str = ""
    together: tuple[frozenset[int], ...] = ()
    power_up: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """One setting of some outputs: volts, amperes, or True and False for a switch. ``clear_protection`` is always True."""

    setting: Setting
    channels: tuple[int, ...]
    value: float | bool

    @property
    def text(self) -> str:
        """The value as instruments take it: 1 or 0, or a plain decimal number of up to six places, never in exponents."""
        if isinstance(self.value, bool):
            return "1" if self.value else "0"
        text = f"{self.value:.6f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text


@dataclass(frozen=True, slots=True)
class Conditions:
    """Settings at the instrument that change the effect of a command, as far as the instrument has them and was asked for them.

    ``coupled``: the outputs that are turned on and off together, whichever of them is told to; empty if there are none. The
    others are by the numbers of the outputs, in s, and 0 where one is missing: how long after the command an output goes on, how
    long after it goes off, and how long it limits the current before its over-current protection trips. ``ranges``: of outputs
    that have several, what they take at present for settings, by their names (V, A): narrower than `Output.ranges`.
    """

    coupled: frozenset[int] = frozenset()
    rise_delay: Mapping[int, float] = field(default_factory=dict)
    fall_delay: Mapping[int, float] = field(default_factory=dict)
    protection_delay: Mapping[int, float] = field(default_factory=dict)
    ranges: Mapping[int, Mapping[str, Range]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inspection:
    """The state of an instrument before or after a setting: its readings, its errors, and what would change the setting's effect.

    ``readings``: empty if the poll was dropped; then nothing else may have been asked for, either. ``complaints``: the errors
    that the instrument reported since it was last asked, in its own words. ``bars``: for each setting at the instrument that
    forbids the command, a sentence with the remedy. ``silent``: a sentence for each such setting that the instrument did not
    tell, though it may have it.
    """

    readings: dict[int, Reading]
    complaints: list[str] = field(default_factory=list)
    bars: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    conditions: Conditions = Conditions()


def never() -> bool:
    """A `GiveWay` that never drops a poll."""
    return False


def _anyone(identity: Identity) -> None:
    del identity


class Driver(ABC):
    """One instrument.

    ``address``: its address for messages, such as its VISA resource name. ``reopened``: how often the driver opened a link
    again by itself, because the instrument had closed it while it was idle. ``admit``: called by `connect` with the identity
    before the instrument is asked or told anything else; it raises `IdentityError` if the instrument is not to be served.
    ``off_waits``: asked from any thread whether an off for this instrument waits or is being sent; a driver whose line is shared
    lets its messages go ahead of those of others then.
    """

    address: str
    reopened: int = 0
    off_waits: Callable[[], bool] = staticmethod(never)
    admit: Callable[[Identity], None] = staticmethod(_anyone)

    @property
    @abstractmethod
    def expected(self) -> Profile:
        """The profile of the instrument before it has answered, from the configuration alone."""

    @abstractmethod
    def connect(self) -> Profile:
        """Open the link anew, ask for the identity, and find out how to poll. It changes no setting.

        :raises IdentityError: it is not the instrument that is expected
        :raises DriverError: it can't be reached or understood; the link is closed then
        """

    @abstractmethod
    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        """The reading of every output; None if ``give_way`` was true between two messages, and the poll was dropped.

        :raises DriverError: no answer, or one that can't be read
        """

    @abstractmethod
    def write(self, write: Write) -> None:
        """Send a setting. `inspect` or `complaints` tells whether it was taken.

        Where the instrument takes one output a message, every output is sent its message, those behind one that fails too.

        :raises DriverError: the link broke; it may or may not have been carried out
        """

    def write_checked(self, write: Write) -> list[str] | None:
        """Send a setting, and ask in the same message if it was taken: the complaints, none if it was.

        None where the instrument takes no such message, or the setting is an off: it was sent by itself, and `complaints` is to
        be asked.

        :raises DriverError: the link broke; it may or may not have been carried out
        """
        self.write(write)
        return None

    @abstractmethod
    def close(self) -> None:
        """Close the link. It never raises, and may be called twice."""

    def inspect(
        self, channels: Collection[int], give_way: GiveWay = never, settings: Collection[Setting] = SETTINGS
    ) -> Inspection:
        """A poll, the complaints before it and the conditions: in one message where the instrument takes that.

        :param channels: the outputs that are to be set; none, and no condition is asked for
        :param give_way: asked between two messages; the rest is dropped if it says so, and there are no readings
        :param settings: what is to be set; only the conditions that change its effect are asked for
        :raises DriverError: no answer, or one that can't be read
        """
        del channels, settings
        complaints = self.complaints()
        readings = None if give_way() else self.poll(give_way)
        return Inspection(readings or {}, complaints)

    def complaints(self) -> list[str]:
        """The errors that the instrument reported since it was last asked, in its own words; none where it has no such memory.

        :raises DriverError: no answer, or one that can't be read
        """
        return []

    def poll_ahead(self) -> bool:
        """Ask for the next poll without waiting for its answer, which `poll` will read; False where the driver can't.

        :raises DriverError: the link broke
        """
        return False

    @property
    def is_poll_under_way(self) -> bool:
        """True while `poll_ahead` has asked for a poll that no `poll` has read. Only `poll` and `close` may be called then."""
        return False

    def hurry(self, seconds: float) -> None:
        """From any thread, when the agent stops: every wait of the driver ends within that time (s) from now on, if it can."""
        del seconds
