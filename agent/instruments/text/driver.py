"""A supply that is asked and told by lines of text, over any `TextLink`, as its series file says."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Sequence

from agent.instruments.catalogue import Model, expected, identify
from agent.instruments.catalogue.answers import Value, plain
from agent.instruments.claims import check_serial
from agent.instruments.driver import (
    WHAT_TO_CORRECT,
    Driver,
    DriverError,
    GiveWay,
    Identity,
    IdentityError,
    Inspection,
    LinkError,
    MalformedAnswerError,
    Profile,
    Reading,
    Write,
    never,
)
from agent.instruments.link import TextLink
from agent.instruments.text import ratings
from agent.instruments.text.errors import ErrorQueue, in_words
from agent.instruments.text.guards import Question, understood
from agent.instruments.text.identified import IdentifiedLink, fields_of
from agent.instruments.text.knowledge import KNOWLEDGE, LONGEST_WAIT, Knowledge
from agent.instruments.text.messages import place_texts
from agent.instruments.text.parts import Part
from agent.instruments.text.polling import Batching
from agent.instruments.text.probing import Probe, ask
from agent.instruments.text.settings import Outgoing, outgoing, together
from agent.protocol.quantities import SETTINGS, Setting

log = logging.getLogger(__name__)


class TextDriver(Driver):
    """One unit of a model in the catalogue.

    :param name: the unit's name, for the log
    :param models: the models that it may be, of one series; one or more
    :param serial: the serial number that it must have, None for any
    :param address: of the unit on its bus, None where it has the link for itself
    :param knowledge: the questions that other units of the kind do not answer
    """

    def __init__(
        self,
        link: TextLink,
        *,
        name: str,
        models: Sequence[Model],
        serial: str | None = None,
        address: int | None = None,
        knowledge: Knowledge = KNOWLEDGE,
    ) -> None:
        self.address = link.uri
        self._name = name
        self._models = tuple(models)
        self._serial = serial
        self._bus_address = address
        self._knowledge = knowledge
        self._model = self._models[0]
        self._series = self._model.series
        only = self._models[0].name if len(self._models) == 1 else None
        self._link = IdentifiedLink(link, self._series, model=only, address=address)
        self._queue = ErrorQueue(self._link, name, self._series.errors)
        self._probed: Identity | None = None  # the unit that the last connection probed
        self._probe = self._new_probe()
        self._refusals: list[str] = []  # of settings that the unit answers, not told yet
        self._is_asked = False  # a poll is under way
        self._turn: threading.Event | None = None  # set while it waits for other units of the kind
        self._is_hurried = False

    @property
    def expected(self) -> Profile:
        """The first of the models that it may be, named if it is the only one."""
        first = self._models[0]
        return Profile(first.name if len(self._models) == 1 else None, first.outputs, together=together(first))

    def connect(self) -> Profile:
        """Open the link, ask for the identity, empty the error queue, and find out which messages the unit takes."""
        self._drop()
        try:
            identity = self._link.open()
            model = self._expected_model(identity)
            self.admit(identity)
            self._link.greet()
            if not self._acknowledges:
                for earlier in in_words(self._queue.read()):
                    log.warning("%s: the unit reports an earlier error: %s", self._name, earlier)
            model = ratings.asked(model, self._ask_part, lambda: self._recover(identity), self._bus_address)
            # The same object where nothing changed: plans are made once for a model.
            if model.entry != self._model.entry or model.name != self._model.name:
                self._model = model
            self._run_probe(identity)
            power_up = self._power_up(identity)
        except BaseException:
            self._link.close()
            raise
        self._link.keep(identity)
        plan, model = self._probe.reader.plan, self._model
        effort = "one message" if plan.count == 1 else f"{plan.count} messages"
        return Profile(model.name, plan.described, identity, effort, together(model), power_up)

    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        """The reading of every output; or of the answer that `poll_ahead` has asked for."""
        reader = self._probe.reader
        answers: list[str] = []
        if self._is_asked:
            self._is_asked = False
            answers = [self._link.hear()]
        else:
            for message in reader.plan.messages:
                # An off that came while the unit needed a pause is the next message.
                if (self._link.wait_until_ready() or answers) and give_way():
                    return None
                answers.append(ask(self._link, message))
        try:
            return reader.read(answers)
        except MalformedAnswerError:
            self._link.close()
            raise

    def write(self, write: Write) -> None:
        """Send a setting: in one message, or in one for every output where the unit takes no channel list.

        An off that finds the link closed goes on a new one; of several messages, each that breaks it is sent once more.
        """
        messages = self._messages(write)
        is_off = write.setting == "state" and not write.value
        if is_off and len(messages) > 1:
            self._turn_off(messages)
        else:
            for message in messages:
                self._refusals += self._link.set(message, again=is_off)
        if write.setting == "clear_protection":
            self._probe.reader.forget_trips()

    def write_checked(self, write: Write) -> list[str] | None:
        """Send a setting and the question for errors as one message, to a unit that answers a poll in one."""
        messages = self._messages(write)
        first = messages[0] if messages else None
        if (
            first is None
            or (write.setting == "state" and not write.value)
            or write.setting == "clear_protection"
            or len(messages) > 1
            or first.answer is not None
            or first.select is not None
            or first.after
            or self._probe.reader.plan.batching is not Batching.COMPOUND
            or self._acknowledges
            or not self._queue.may_follow(self._probed)
        ):
            self.write(write)
            return None
        assert self._probed is not None
        return in_words(self._queue.read_behind(first.text, self._series.link.separator, self._probed, self.off_waits))

    def _messages(self, write: Write) -> list[Outgoing]:
        try:
            return outgoing(self._model, write, self._bus_address)
        except ValueError as error:
            # The ranges of the series file allow more than its form of the message: nothing was sent.
            raise DriverError(f"{self._series.name}: {error}; the series file is wrong") from None

    def _turn_off(self, messages: list[Outgoing]) -> None:
        failure: DriverError | None = None
        is_broken = False
        for message in messages:
            for _ in range(2):
                if is_broken and self._probed is not None:
                    self._link.open(self._probed)
                try:
                    self._refusals += self._link.set(message)
                except DriverError as error:  # a selection that was refused, too
                    failure, is_broken = failure or error, True
                else:
                    is_broken = False
                    break
        if failure is not None:
            self._link.close()
            raise failure

    def close(self) -> None:
        """Leave remote mode, and close the link. A poll that is under way is read first: its interruption would be an error."""
        if self._is_asked:
            self._is_asked = False
            with contextlib.suppress(LinkError):
                self._link.hear()
        self._link.take_leave()
        self._drop()

    def _drop(self) -> None:
        self._is_asked, self._refusals = False, []
        self._link.close()

    def inspect(
        self, channels: Collection[int], give_way: GiveWay = never, settings: Collection[Setting] = SETTINGS
    ) -> Inspection:
        """The errors, the conditions of these settings and a poll: in one message where the unit takes that."""
        probe = self._probe
        questions = [question for question in probe.questions if question.concerns(channels, settings)]
        try:
            complaints, answers, readings = self._inspect(questions, channels, give_way)
            self._heard(complaints, give_way)
            if readings is None:  # it gave way
                return Inspection({}, complaints)
            bars, conditions = understood(questions, answers, channels, self._registers())
        except MalformedAnswerError:
            self._link.close()
            raise
        silent = [f"{one.name} was not answered" for one in probe.silent if one.concerns(channels, settings)]
        return Inspection(readings, complaints, bars, silent, conditions)

    def complaints(self) -> list[str]:
        """The complaints since the last call: refused settings, the unit's error queue, lines that nobody asked for."""
        return self._heard(self._new_complaints(), self.off_waits)

    def poll_ahead(self) -> bool:
        """Send the message of the next poll, where a poll is one message."""
        plan = self._probe.reader.plan
        may = plan.is_one_message and self._series.link.acknowledges_queries is None
        self._is_asked = may and self._link.ask_ahead(plan.messages[0].text)
        return self._is_asked

    @property
    def reopened(self) -> int:  # type: ignore[override]
        """How often the link was opened again by itself, because the unit had closed it while it was idle."""
        return self._link.reopened

    @property
    def is_poll_under_way(self) -> bool:
        """True while the unit works on an answer that no `poll` has read."""
        return self._is_asked

    def hurry(self, seconds: float) -> None:
        """End a wait for other units of the kind; an answer is waited for as long as its timeout."""
        del seconds
        self._is_hurried = True
        if (turn := self._turn) is not None:
            turn.set()

    # Connecting.

    def _expected_model(self, identity: Identity) -> Model:
        model = identify(identity, self._models)
        if model is None:
            told = f"{identity.manufacturer} {identity.model}"
            wanted = expected(identity, self._models)
            raise IdentityError(
                f"at {self.address} is a {told}, not a {wanted}; it gets no commands; {WHAT_TO_CORRECT}", identity
            )
        check_serial(identity, self._serial, self.address)
        return model

    def _new_probe(self) -> Probe:
        return Probe(
            self._link,
            self._queue,
            self._model,
            name=self._name,
            address=self._bus_address,
            is_hurried=lambda: self._is_hurried,
        )

    def _run_probe(self, identity: Identity) -> None:
        """Find out in which messages the unit is polled, and which questions around a setting it answers."""
        kind = self._knowledge.kind(identity)
        unit = f"{identity.serial} at {self.address}"
        self._turn = turn = threading.Event()
        self._probe = self._new_probe()
        try:
            if self._is_hurried:
                turn.set()
            # A unit that was probed before waits for no other: an off may wait for this connection. One that does may have come
            # before the stop, so it is done, too.
            waits = identity != self._probed and not self.off_waits()
            with kind.probing(turn, LONGEST_WAIT if waits else 0.0):
                if self._is_hurried and not self.off_waits():
                    raise LinkError("the agent stops")
                self._probe.run(identity, kind, unit)
            self._model, self._probed = self._probe.model, identity
        finally:
            self._turn = None

    def _ask_part(self, part: Part) -> tuple[Value, ...]:
        select = None
        if part.selected is not None and self._model.select is not None:
            filling = place_texts(self._model, (part.selected,), self._bus_address)
            select = self._series.ask_template(self._model.select.send).filled(filling)
        return part.read(self._link.ask(part.ask, part.length, select))

    def _power_up(self, identity: Identity) -> str | None:
        """A sentence if outputs come back by themselves when the mains return; None if they do not, or the unit does not tell."""
        question, kind = self._series.power_up, self._knowledge.kind(identity)
        unit = f"{identity.serial} at {self.address}"
        if question is None or not question.is_for(self._model.name) or kind.refuses(question.ask, unit):
            return None
        try:
            told = fields_of(self._series, [question.answer], self._link.ask(question.ask))
        except LinkError:
            kind.has_refused(question.ask, unit)
            self._recover(identity)
            return None
        comes_back = any(plain(value) in map(plain, question.on) for value in (told or {}).values())
        return question.text if comes_back else None

    def _recover(self, identity: Identity) -> None:
        """A new link to the same unit, after a question that it may leave unanswered, with an empty error queue."""
        self._link.open(identity)
        if not self._acknowledges:
            self._queue.read()

    # Asking.

    @property
    def _acknowledges(self) -> bool:
        """True if reading the errors clears alarms."""
        return self._series.errors is not None and self._series.errors.acknowledges

    def _new_complaints(self) -> list[str]:
        errors = [] if self._acknowledges else self._queue.read(self.off_waits)
        return [*self._told(), *in_words(errors)]

    def _heard(self, complaints: list[str], give_way: GiveWay) -> list[str]:
        # A key of the panel ends remote mode, or the mains of a unit on a serial line, which stays open: the unit would refuse
        # all from then on.
        if complaints and not give_way():
            self._link.greet()
        return complaints

    def _told(self) -> list[str]:
        """Complaints that came without a question for them."""
        told, self._refusals = [*self._refusals, *self._link.unasked], []
        self._link.unasked = []
        return told

    def _registers(self) -> dict[tuple[str, int], Value]:
        """The registers of the last poll, by their names and outputs."""
        reader = self._probe.reader
        found: dict[tuple[str, int], Value] = {}
        for (name, owner), at in reader.plan.order.items():
            for index in (output.index for output in self._model.channels):
                if owner in (None, index):
                    found[name, index] = reader.values[at[0]]
        return found

    def _inspect(
        self, questions: list[Question], channels: Collection[int], give_way: GiveWay
    ) -> tuple[list[str], list[str], dict[int, Reading] | None]:
        """The complaints, the answers to the questions, and a poll; None for it if it was dropped."""
        if self._acknowledges:
            return self._inspect_alarms_first(questions, channels, give_way)
        probe = self._probe
        if not probe.combines:
            complaints = self._new_complaints()
            answers: list[str] = []
            for question in questions:
                if give_way():
                    return complaints, answers, None
                answers += probe.ask_questions([question], channels)
            return complaints, answers, None if give_way() else self.poll(give_way)
        asks = [one for question in questions for one in question.asks(channels)]
        error, answers, readings = probe.ask_combined(asks)
        if error is None:
            return self._told(), answers, readings
        errors = [error] if self.off_waits() else [error, *self._queue.read(self.off_waits)]
        if give_way():
            return [*in_words(errors), *self._told()], [], None
        # On a slow unit the readings that came with the first error are seconds old when the last error has been read.
        error, answers, readings = probe.ask_combined(asks)
        return [*in_words(errors if error is None else [*errors, error]), *self._told()], answers, readings

    def _inspect_alarms_first(
        self, questions: list[Question], channels: Collection[int], give_way: GiveWay
    ) -> tuple[list[str], list[str], dict[int, Reading] | None]:
        """The same of a unit that clears alarms when its errors are read: the poll first, and no errors while one has tripped."""
        answers: list[str] = []
        readings = self.poll(give_way)
        if readings is None:
            return self._told(), answers, None
        complaints = self._told()
        if not any(reading.tripped for reading in readings.values()):
            complaints += in_words(self._queue.read(self.off_waits))
        for question in questions:
            if give_way():
                return complaints, answers, None
            answers += self._probe.ask_questions([question], channels)
        return complaints, answers, readings
