"""The schema of a series file: the language of a family of supplies, and its models."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field, model_validator

from agent.instruments.catalogue.answers import AnswerPattern, PatternError, Words
from agent.instruments.catalogue.language import (
    Ask,
    BusAddress,
    Errors,
    Guard,
    Identify,
    Link,
    PowerUp,
    Rule,
    Selection,
    SettingEntry,
    Strict,
    Texts,
)
from agent.instruments.catalogue.messages import Template
from agent.instruments.catalogue.modbus import ModbusLanguage, RegisterSetting
from agent.instruments.catalogue.models import RATING_FIELDS, ChannelModel, Family, ModelEntry, Option, RatingQuestion
from agent.protocol.messages import Mode, Trip
from agent.protocol.quantities import READ_NUMBERS, READ_SWITCHES, Setting

#: The switches that a poll reads. ``master``: one that all outputs depend on, besides their own.
SWITCHES = READ_SWITCHES | {"master"}
MODES: tuple[str, ...] = get_args(Mode)
TRIPS: tuple[str, ...] = get_args(Trip)
#: All that a poll can give: the quantities, and each trip as a switch.
QUANTITIES = READ_NUMBERS | SWITCHES | {"mode", "tripped"} | set(TRIPS)

#: The keys of a series whose units speak text.
_OF_TEXT = frozenset(("identify", "words", "registers", "settings", "select", "bus", "conditions", "errors"))
_OF_TEXT |= {"ratings", "options", "modules", "power_up"}

_IN_ASKS = frozenset(("ch", "name", "list", "address"))
_IN_SETTINGS = _IN_ASKS | {"value"}
_ALONE: frozenset[str] = frozenset()


class Tried(Strict):
    """A report of somebody who ran the agent on a model: with its firmware, and where the report can be read."""

    model: str
    firmware: str
    date: dt.date
    report: str


class Series(Strict):
    """A series file: one language, and the models that speak it.

    ``sources``: the manuals and drivers that it was written from. ``tried``: ``no``, or the reports. ``notes``: all that a
    user has to know before, such as outputs that come back by themselves. ``words``: tables of words, by their names.
    ``polls``: in the order in which they are asked. ``registers``: what the fields of the polls mean that are no quantities.
    ``modbus``: instead of ``polls``, ``settings`` and what belongs to them, where the units speak Modbus.
    """

    series: str
    manufacturer: str
    sources: Texts = Field(min_length=1)
    tried: Annotated[
        tuple[Tried, ...],
        BeforeValidator(
            lambda value: () if value in (False, "no") else value,
            json_schema_input_type=Literal[False, "no"] | tuple[Tried, ...],
        ),
    ]
    notes: Texts = ()
    identify: Identify = Identify()
    words: dict[str, dict[str, float | bool | str | None]] = Field(default_factory=dict)
    modbus: ModbusLanguage | None = None
    polls: tuple[Ask, ...] = ()
    registers: dict[str, tuple[Rule, ...]] = Field(default_factory=dict)
    settings: dict[Setting, SettingEntry | tuple[SettingEntry, ...]] = Field(default_factory=dict)
    select: Selection | None = None
    bus: BusAddress | None = None
    conditions: tuple[Guard, ...] = ()
    errors: Errors | None = None
    ratings: tuple[RatingQuestion, ...] = ()
    options: tuple[Option, ...] = ()
    modules: dict[str, ChannelModel] = Field(default_factory=dict)
    power_up: PowerUp | None = None
    link: Link = Link()
    models: dict[str, ModelEntry] = Field(default_factory=dict)
    families: tuple[Family, ...] = ()

    @property
    def name(self) -> str:
        """The name of the series."""
        return self.series

    @cached_property
    def tables(self) -> dict[str, Words]:
        """The tables of words, each by the words in capitals."""
        return {name: {word.upper(): value for word, value in table.items()} for name, table in self.words.items()}

    def entries(self, setting: Setting) -> tuple[SettingEntry, ...]:
        """The ways to send a setting; each is for some models or outputs."""
        found = self.settings.get(setting, ())
        return found if isinstance(found, tuple) else (found,)

    @property
    def settable(self) -> frozenset[Setting]:
        """The settings that it has an entry for, in either language."""
        return frozenset(self.settings if self.modbus is None else self.modbus.settings)

    def modbus_setting(self, setting: Setting) -> RegisterSetting | None:
        """The register of a setting; None where the series has none, or speaks text."""
        return None if self.modbus is None else self.modbus.settings.get(setting)

    # Compiling.

    def pattern(self, text: str) -> AnswerPattern:
        """The pattern of an answer to a poll.

        :raises PatternError: it is none
        """
        return AnswerPattern(text, self.tables, default_type)

    def ask_template(self, text: str) -> Template:
        """The template of a question.

        :raises PatternError: it is none
        """
        return Template(text, self.tables, _IN_ASKS)

    def setting_template(self, text: str) -> Template:
        """The template of a setting.

        :raises PatternError: it is none
        """
        return Template(text, self.tables, _IN_SETTINGS)

    # Checks.

    @model_validator(mode="after")
    def _has_models(self) -> Series:
        if not self.models and not self.families:
            raise ValueError("give models, or families of models")
        return self

    @model_validator(mode="after")
    def _speaks_one_language(self) -> Series:
        if (self.modbus is None) == (not self.polls):
            raise ValueError("give one language: polls with settings, or modbus")
        if self.modbus is not None:
            strange = self.model_fields_set & _OF_TEXT
            if strange:
                raise ValueError(f"{', '.join(sorted(strange))}: belongs to text, and the units speak Modbus")
            if self.families or any(list(model.channels) != [1] for model in self.models.values()):
                raise ValueError("modbus: the models stand in `models`, each with its one output 1")
        elif not self.settings:
            raise ValueError(
                "settings: missing; what can't be set is said there, too: state: {unsupported: 'a sentence why'}"
            )
        return self

    def faults(self) -> list[tuple[tuple[Any, ...], str]]:
        """All that is wrong with the patterns and the names in the file: the key of each, and a sentence."""
        return _Checker(self).faults


def default_type(name: str) -> str:
    """The type of a field that names none."""
    if name in ("module", "option"):
        return "text"
    if name != "channels" and (name in READ_NUMBERS or name in RATING_FIELDS):
        return "number"
    if name in SWITCHES or name in TRIPS:
        return "bit"
    return {"mode": "mode", "tripped": "word"}.get(name, "int")


class _Checker:
    """Collects the faults of a series that its types do not show."""

    def __init__(self, series: Series) -> None:
        self.faults: list[tuple[tuple[Any, ...], str]] = []
        self._series = series
        self._registers: set[str] = set()
        for index, poll in enumerate(series.polls):
            self._poll(("polls", index), poll)
        for setting in series.settings:
            given = series.settings[setting]
            for index, entry in enumerate(series.entries(setting)):
                self._setting(("settings", setting, *((index,) if isinstance(given, tuple) else ())), setting, entry)
        for name, rules in series.registers.items():
            self._register(("registers", name), name, rules)
        for index, guard in enumerate(series.conditions):
            self._guard(("conditions", index), guard)
        for index, question in enumerate(series.ratings):
            self._template(("ratings", index, "ask"), question.ask)
            for text in question.answer:
                for name in self._fields(("ratings", index, "answer"), text):
                    if name not in RATING_FIELDS:
                        known = ", ".join(sorted(RATING_FIELDS))
                        self._fault(("ratings", index, "answer"), f"{name!r} is no rating; known are {known}")
        for index, option in enumerate(series.options):
            if option.becomes not in series.models:
                self._fault(("options", index, "becomes"), f"{option.becomes!r} is no model of `models`")
        self._selection()
        if series.modbus is not None:
            for key, text in series.modbus.faults(series.models):
                self._fault(("modbus", *key), text)

    def _fault(self, key: tuple[Any, ...], text: str) -> None:
        self.faults.append((key, text))

    def _template(self, key: tuple[Any, ...], text: str, allowed: frozenset[str] = _IN_ASKS) -> Template | None:
        try:
            template = Template(text, self._series.tables, allowed)
        except PatternError as error:
            self._fault(key, str(error))
            return None
        if "address" in template.places and self._series.bus is None:
            self._fault(key, f"{text!r}: {{address}} needs `bus`")
        if {"list"} < template.places & {"list", "ch", "name"}:
            self._fault(key, f"{text!r}: {{list}} and {{ch}} or {{name}} stand there both; give one of them")
        return template

    def _fields(self, key: tuple[Any, ...], text: str) -> list[str]:
        try:
            return [field.name for field in self._series.pattern(text).fields]
        except PatternError as error:
            self._fault(key, str(error))
            return []

    def _poll(self, key: tuple[Any, ...], poll: Ask) -> None:
        self._template((*key, "ask"), poll.ask)
        is_for_all = not poll.selected and not any(place in poll.ask for place in ("{ch}", "{name}", "{list}"))
        most = max(
            (len(poll.outputs(tuple(m.channels))) for n, m in self._series.models.items() if poll.is_for(n)), default=1
        )
        for text in poll.answer:
            try:
                fields = self._series.pattern(text).fields
            except PatternError as error:
                self._fault((*key, "answer"), str(error))
                continue
            if not fields:
                self._fault((*key, "answer"), f"{text!r} holds no field such as {{voltage}}")
            for field in fields:
                if field.name in READ_NUMBERS and field.channel is None and is_for_all and most > 1:
                    # It would be shown for each output: one with 30 V beside one that is off.
                    self._fault(
                        (*key, "answer"),
                        f"{text!r} does not say of which output {field.name} is: ask with {{ch}}, {{name}} or {{list}}; or give "
                        f"`selected: true`; or {{{field.name}.1}} where one answer tells all outputs",
                    )
                if field.name in QUANTITIES:
                    continue
                self._registers.add(field.name)
                if field.name not in self._series.registers and not any(
                    guard.register_ == field.name for guard in self._series.conditions
                ):
                    known = ", ".join(sorted(READ_NUMBERS | SWITCHES))
                    self._fault(
                        (*key, "answer"),
                        f"{field.name!r} is no quantity ({known}, mode, tripped, a trip such as OVP), and `registers` does not "
                        "say what it means",
                    )

    def _setting(self, key: tuple[Any, ...], setting: Setting, entry: SettingEntry) -> None:
        most = max((len(model.channels) for model in self._series.models.values()), default=1)
        for name in ("send", "on", "off"):
            for text in getattr(entry, name):
                template = self._template((*key, name), text, _IN_SETTINGS)
                if template is None:
                    continue
                if name != "send" and "value" in template.places:
                    self._fault((*key, name), f"{text!r}: {{value}} has no place in a command that is on or off")
                is_aimed = bool(template.places & {"ch", "name", "list"}) or entry.selected
                if most > 1 and not is_aimed and entry.reaches != "all":
                    self._fault(
                        (*key, name),
                        f"{text!r} names no output: give {{ch}}, {{name}} or {{list}}; or `selected: true`; or `reaches: all` "
                        "where it acts on all outputs",
                    )
        texts = entry.send
        if texts and setting != "clear_protection" and not any("{value" in text for text in texts):
            self._fault((*key, "send"), "{value} is missing; or give `on` and `off`")

    def _register(self, key: tuple[Any, ...], name: str, rules: tuple[Rule, ...]) -> None:
        if name not in self._registers:
            self._fault(key, f"no answer of `polls` has a field {{{name}}}")
        for index, rule in enumerate(rules):
            if rule.gives not in QUANTITIES - READ_NUMBERS:
                self._fault(
                    (*key, index, "gives"),
                    f"{rule.gives!r} is not known; right would be a switch, mode, tripped, or a trip such as OVP",
                )
                continue
            right = {"mode": (*MODES, None), "tripped": (*TRIPS, None)}.get(rule.gives, (True, False, None))
            if rule.bit is not None and rule.gives in ("mode", "tripped"):
                self._fault(
                    (*key, index, "bit"), f"{rule.gives} has more than two values: give `values`, or a trip as `gives`"
                )
            for value in rule.values.values():
                if value not in cast("tuple[object, ...]", right):
                    self._fault(
                        (*key, index, "values"),
                        f"{value!r} is no value of {rule.gives}; known are {', '.join(map(str, right))}",
                    )

    def _guard(self, key: tuple[Any, ...], guard: Guard) -> None:
        if guard.ask is not None:
            self._template((*key, "ask"), guard.ask)
        elif guard.register_ not in self._registers:
            self._fault((*key, "register"), f"no answer of `polls` has a field {{{guard.register_}}}")
        if guard.answer is not None and self._fields((*key, "answer"), guard.answer) not in ([], ["value"]):
            self._fault((*key, "answer"), "the one field of an answer here is {value}")

    def _selection(self) -> None:
        series = self._series
        parts: list[Ask | Guard | SettingEntry] = [
            *series.polls,
            *series.conditions,
            *series.ratings,
            *(e for s in series.settings for e in series.entries(s)),
        ]
        if series.select is None and any(part.selected for part in parts):
            self._fault(("select",), "missing, though parts of the file are `selected`")
        if series.select is not None:
            template = self._template(("select", "send"), series.select.send)
            if template is not None and not template.places & {"ch", "name"}:
                self._fault(("select", "send"), f"{series.select.send!r} names no output: give {{ch}} or {{name}}")
