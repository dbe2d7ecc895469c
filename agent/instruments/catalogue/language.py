"""The language of a series, as its file says it: what is asked, what comes back, what may be set, and how messages travel.

Templates are as in `agent.instruments.catalogue.messages`, answers as in `agent.instruments.catalogue.answers`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent.protocol.quantities import SETTINGS, Setting


class Strict(BaseModel):
    """A part of a series file: unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str | int | float | bool) else value


def _words(value: object) -> object:
    """Words of an answer: numbers may stand in the file as numbers."""
    return tuple(str(one).upper() for one in value) if isinstance(value, list | tuple) else value


def _count(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


#: A regular expression that has to match the whole text; case does not matter.
Regex = Annotated[str, AfterValidator(_regex)]
#: One text, or a list of them.
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...])]
#: Words that an answer may be.
AnswerWords = Annotated[tuple[str, ...], BeforeValidator(_words, json_schema_input_type=tuple[str | float | bool, ...])]
#: The bytes of an answer: their number, or the least and the greatest.
Length = Annotated[tuple[int, int] | None, BeforeValidator(_count, json_schema_input_type=int | tuple[int, int] | None)]
Regexes = Annotated[tuple[Regex, ...], BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...])]
Seconds = Annotated[float, Field(ge=0, le=60)]


class Applies(Strict):
    """Something that not all models or outputs of a series have.

    ``models``: regular expressions of the models that have it, all where none is given. ``channels``: the outputs that have
    it.
    """

    models: Regexes = ()
    channels: tuple[int, ...] = ()

    def is_for(self, model: str) -> bool:
        """True if that model has it."""
        return not self.models or any(re.fullmatch(one, model, re.IGNORECASE) for one in self.models)

    def outputs(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        """Those of a model's outputs that have it."""
        return tuple(index for index in indices if not self.channels or index in self.channels)


class Ask(Applies):
    """A question and the form of its answer.

    With ``{ch}`` or ``{name}`` in ``ask`` it is asked once for each output; with ``{list}`` the answer has one such form for
    each output, with commas between; else one answer is on all outputs. ``answer``: a pattern, or several that are tried in
    order. ``selected``: it asks for the output that was selected before. ``length``: the bytes of the answer, or their least
    and greatest number, where no terminator ends it.
    """

    ask: str = Field(min_length=1)
    answer: Texts
    selected: bool = False
    length: Length = None


class Rule(Strict):
    """The meaning of a register, or of a part of it, for one quantity.

    ``gives``: the quantity, or a word of ``tripped`` (such as OVP) that holds if the bit is set. ``channel``: of that output;
    None for the one that was asked for, or for all. One of two says where it stands: ``bit``, which is true if it is set
    (false where ``inverted``); or ``values``, by the number that is left under ``mask``, or by the text where the register is
    a text. A value that is not listed is unknown. ``event``: the register is cleared by reading, so what it told is
    remembered until it tells something else, and a trip until the output is on again or was cleared.
    """

    gives: str
    channel: int | None = None
    bit: int | None = Field(default=None, ge=0, le=63)
    inverted: bool = False
    mask: int | None = Field(default=None, ge=1)
    values: dict[int | str, str | bool | None] = Field(default_factory=dict)
    event: bool = False

    @model_validator(mode="after")
    def _says_one_thing(self) -> Rule:
        if (self.bit is None) == (not self.values):
            raise ValueError("give one of bit and values")
        if self.mask is not None and self.bit is not None:
            raise ValueError("mask goes with values; bit needs none")
        return self


class SettingEntry(Applies):
    """How a setting is sent.

    ``send``: a message, or several in this order; ``on`` and ``off`` instead where a switch has two commands. A message with
    ``{list}`` goes once for all outputs, one with ``{ch}`` or ``{name}``, or with ``selected``, once for each, any other
    once. ``reaches``: ``named``, or ``all`` where it acts on every output of the unit whichever is meant. ``after``: s that
    the unit needs before the next message. ``answer``: what the unit answers when it took it, where it answers settings; any
    other answer is a refusal. ``unsupported``: instead of all these, a sentence why it can't be set remotely, and what to do.
    """

    send: Texts = ()
    on: Texts = ()
    off: Texts = ()
    selected: bool = False
    reaches: Literal["named", "all"] = "named"
    after: Seconds = 0.0
    answer: str | None = None
    unsupported: str | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> SettingEntry:
        if sum((bool(self.send), bool(self.on and self.off), self.unsupported is not None)) != 1 or bool(
            self.on
        ) != bool(self.off):
            raise ValueError("give one of send, on with off, and unsupported")
        return self


class Guard(Applies):
    """A question about a setting at the unit that changes the effect of a command, asked before such a command is carried out.

    ``ask`` is as in `Ask`; ``answer``, if it is given, has one field, ``{value}``, which is all of the answer else;
    ``register`` instead of both names a register of the polls. ``mask``: the part of a number that counts. ``settings``:
    those whose effect it changes. ``channels``: the outputs that it concerns.

    One of three says what the value means: it must be one of ``expect``; it must not be one of ``refuse``; or it ``tells`` a
    field of `agent.instruments.driver.Conditions`; ``ranges`` of an output that has several are told by the name of the
    present one. ``text`` says, for people, what holds where it forbids the command, and ``remedy`` what to do about it;
    ``{channel}`` and ``{answer}`` may stand in both.
    """

    ask: str | None = None
    answer: str | None = None
    register_: str | None = Field(default=None, alias="register")
    mask: int | None = Field(default=None, ge=1)
    selected: bool = False
    length: int | None = None
    settings: frozenset[Setting] = SETTINGS
    expect: AnswerWords = ()
    refuse: AnswerWords = ()
    tells: Literal["coupled", "rise_delay", "fall_delay", "protection_delay", "ranges"] | None = None
    text: str
    remedy: str = ""

    @property
    def takes_channels(self) -> bool:
        """True if it is answered for each output by itself."""
        return self.selected or any(place in (self.ask or "") for place in ("{list}", "{ch}", "{name}"))

    @model_validator(mode="after")
    def _means_one_thing(self) -> Guard:
        if (self.ask is None) == (self.register_ is None):
            raise ValueError("give one of ask and register")
        name = self.ask or self.register_
        if sum((bool(self.expect), bool(self.refuse), self.tells is not None)) != 1:
            raise ValueError(f"{name}: give one of expect, refuse and tells")
        if self.tells is None and not self.remedy:
            raise ValueError(f"{name}: it forbids commands; say in remedy what to do at the unit")
        return self


class Identify(Strict):
    """The question for the identity, and how its answer is read.

    ``form``: a regular expression for the whole answer with the groups ``manufacturer``, ``model``, ``serial`` and
    ``firmware`` as far as it tells them; without it, the four fields of ``*IDN?`` (IEEE 488.2, 10.14). ``manufacturer``: a
    regular expression for that part; the series' manufacturer where the answer does not tell it. ``also``: further questions,
    whose fields are ``model``, ``serial`` or ``firmware``. ``tries``: how often it is asked where the unit may miss the first
    message.
    """

    ask: str = "*IDN?"
    form: Regex | None = None
    manufacturer: Regex | None = None
    also: tuple[Ask, ...] = ()
    length: int | None = None
    tries: int = Field(default=1, ge=1, le=5)


class Errors(Strict):
    """The question for errors, or several, each asked by itself.

    - ``none``: a regular expression for answers that mean that there is none.
    - ``form``: one for answers that tell an error, with the groups ``text`` and, where it is a number of SCPI, ``number``;
      without it, the number, a comma or blank, and the text. An answer that has neither form is no answer to this question.
    - ``count``: how many the unit remembers; it is asked until there is none, or that often and a few times more.
    - ``acknowledges``: reading them clears alarms, so it is asked only after a setting, and not while there is a trip.
    """

    ask: Texts
    none: Regex
    form: Regex = r"(?P<number>[+-]?\d{1,6})\s*[,\s]\s*(?P<text>.*)"
    count: int = Field(default=20, ge=1)
    acknowledges: bool = False


class Selection(Strict):
    """How an output is selected. ``compound``: the selection and one command may stand in one message."""

    send: str
    compound: bool = False
    after: Seconds = 0.0


class Serial(Strict):
    """A serial line: its parameters, and the messages that enter and leave remote mode there."""

    baud: int = Field(default=9600, ge=50)
    data_bits: int = Field(default=8, ge=5, le=8)
    parity: Literal["none", "odd", "even"] = "none"
    stop_bits: Annotated[float, Field(ge=1, le=2, multiple_of=0.5)] = 1
    flow: Literal["none", "xon_xoff", "rts_cts", "dtr_dsr"] = "none"
    speeds: tuple[int, ...] = ()
    read: str | None = None
    write: str | None = None
    gap: Seconds | None = None
    enter: Texts | None = None
    leave: Texts | None = None


class Lan(Strict):
    """Links by LAN: the port of the raw socket, and the protocols."""

    port: int | None = Field(default=None, ge=1, le=65535)
    protocols: tuple[Literal["socket", "vxi11", "hislip"], ...] = ("socket",)


class Link(Strict):
    """How messages travel. Terminators are texts such as ``"\\n"``, null for none; the configuration's ``pyvisa_args`` win.

    - ``compound``: several questions may stand in one message: ``yes``; ``no``; or ``probe``, which is found out when a unit is
      connected, and remembered for its firmware. ``separator``: between them. ``longest``, ``parts``: the most characters and
      questions of a message.
    - ``silence``: s without a further byte that end an answer, where ``read`` is null. ``raw``: answers are bytes, not text.
      ``skips_empty``: an empty line before an answer is none.
    - ``gap``: s between an exchange and the next message.
    - ``acknowledges``: the answer to each message that is no question. ``acknowledges_queries``: the line behind each answer.
    - ``unasked``: regular expressions for lines that come without a question; they count as complaints.
    - ``enter``, ``leave``: messages that begin and end remote mode. ``setup``: sent once at each connection.
    """

    compound: Literal["yes", "no", "probe"] = "no"
    separator: str = ";:"
    longest: int | None = Field(default=None, ge=10)
    parts: int | None = Field(default=None, ge=2)
    write: str | None = "\n"
    read: str | None = "\n"
    silence: Seconds = 0.1
    raw: bool = False
    skips_empty: bool = False
    gap: Seconds = 0.0
    acknowledges: str | None = None
    acknowledges_queries: str | None = None
    unasked: tuple[Regex, ...] = ()
    enter: Texts = ()
    leave: Texts = ()
    setup: Texts = ()
    lan: Lan | None = None
    serial: Serial | None = None
    usb: Literal["tmc", "serial"] | None = None
    gpib: bool = False

    def is_serial(self, uri: str) -> bool:
        """True if the unit's serial port is there: a raw socket of a series without LAN is that of a gateway to it."""
        kind = uri.strip().upper()
        return kind.startswith("ASRL") or ("::SOCKET" in kind and self.lan is None)


class BusAddress(Strict):
    """Several units on one line. ``select``: the message that begins the turn of a unit, with ``{address}``.

    One of two confirms it, and nothing is set before it is confirmed: ``answer``, what the unit answers to it; or
    ``confirm``, a question with the one field ``{address:int}`` in its ``answer``. ``addresses``: the lowest and the highest;
    ``default``: the one that units are delivered with. ``needed``: the unit wants its address also where it is alone.
    """

    select: str
    answer: str | None = None
    confirm: Ask | None = None
    after: Seconds = 0.0
    addresses: tuple[int, int]
    default: int | None = None
    needed: bool = False

    @model_validator(mode="after")
    def _is_confirmed(self) -> BusAddress:
        if (self.answer is None) == (self.confirm is None):
            raise ValueError("give one of answer and confirm: a setting must not reach another unit of the bus")
        return self


class PowerUp(Applies):
    """The question if outputs come back by themselves after the mains return, and the answers that mean so."""

    ask: str
    answer: str = "{value:text}"
    on: AnswerWords
    text: str = "outputs come back by themselves after power returns"
