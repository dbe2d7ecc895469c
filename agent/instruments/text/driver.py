"""A supply that speaks SCPI, over any `TextLink`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Sequence

from agent.instruments.catalogue import Model, identify
from agent.instruments.driver import (
    Driver,
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
from agent.instruments.text.errors import Error, ErrorQueue, has_command_error, in_words
from agent.instruments.text.guards import Question, understood
from agent.instruments.text.identified import IdentifiedLink
from agent.instruments.text.knowledge import KNOWLEDGE, LONGEST_WAIT, Knowledge, UnitKind
from agent.instruments.text.link import TextLink
from agent.instruments.text.messages import combine, setting_messages, take_apart
from agent.instruments.text.polling import Batching, PollPlan, PollReader, poll_plan
from agent.protocol.quantities import SETTINGS, Setting

log = logging.getLogger(__name__)

#: The name under which `UnitKind` remembers a poll that is combined with the questions around a setting.
_COMBINED = "everything around a setting in one message"


class TextDriver(Driver):
    """One unit of a model in the catalogue.

    :param name: the unit's name, for the log
    :param models: the models that it may be; one or more
    :param serial: the serial number that it must have, None for any
    :param knowledge: the questions that other units of the kind do not answer
    """

    def __init__(
        self,
        link: TextLink,
        *,
        name: str,
        models: Sequence[Model],
        serial: str | None = None,
        knowledge: Knowledge = KNOWLEDGE,
    ) -> None:
        self.address = link.uri
        self._link = IdentifiedLink(link)
        self._queue = ErrorQueue(self._link, name)
        self._name = name
        self._models = tuple(models)
        self._serial = serial
        self._knowledge = knowledge
        self._model = self._models[0]
        self._probed: Identity | None = None  # the unit that the last connection probed
        self._reader = PollReader(poll_plan(self._model, Batching.COMPOUND))
        self._questions: tuple[Question, ...] = ()  # on settings at the unit
        self._silent: tuple[Question, ...] = ()  # those that it neither answered nor refused
        self._combines = False  # it answers all that is asked around a setting in one message
        self._is_asked = False  # a poll is under way
        self._turn: threading.Event | None = None  # set while it waits for other units of the kind
        self._is_hurried = False

    @property
    def expected(self) -> Profile:
        """The first of the models that it may be, named if it is the only one."""
        return Profile(self._models[0].name if len(self._models) == 1 else None, self._models[0].outputs)

    def connect(self) -> Profile:
        """Open the link, ask for the identity, empty the error queue, and find out which messages the unit takes."""
        self.close()
        try:
            identity = self._link.open()
            self._model = self._expected_model(identity)
            self.admit(identity)
            for number, text in self._errors():
                log.warning("%s: the unit reports an earlier error: %d, %s", self._name, number, text)
            self._probe(identity)
        except BaseException:
            self._link.close()
            raise
        self._link.keep(identity)
        count = len(self._reader.plan.messages)
        effort = "one message" if count == 1 else f"{count} messages"
        return Profile(self._model.name, self._model.outputs, identity, effort)

    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        """The reading of every output; or of the answer that `poll_ahead` has asked for."""
        if self._is_asked:
            self._is_asked = False
            return self._read([self._link.hear()])
        answers: list[str] = []
        for message in self._reader.plan.messages:
            if answers and give_way():
                return None
            answers.append(self._link.ask(message))
        return self._read(answers)

    def write(self, write: Write) -> None:
        """Send a setting: in one message, or in one for every output where the unit takes no channel list.

        An off that finds the link closed goes on a new one; of several messages, each that breaks it is sent once more.
        """
        messages = setting_messages(self._model.series.commands[write.setting], write)
        is_off = write.setting == "state" and not write.value
        if is_off and len(messages) > 1:
            self._turn_off(messages)
            return
        for message in messages:
            self._link.tell(message, again=is_off)

    def write_checked(self, write: Write) -> list[str] | None:
        """Send a setting and the question for errors as one message, to a unit that answers a poll in one."""
        messages = setting_messages(self._model.series.commands[write.setting], write)
        if (
            (write.setting == "state" and not write.value)
            or len(messages) > 1
            or self._reader.plan.batching is not Batching.COMPOUND
            or not self._queue.may_follow(self._probed)
        ):
            self.write(write)
            return None
        assert self._probed is not None
        return in_words(self._queue.read_behind(messages[0], self._model.series, self._probed))

    def _turn_off(self, messages: list[str]) -> None:
        failure: LinkError | None = None
        is_broken = False
        for message in messages:
            for _ in range(2):
                if is_broken and self._probed is not None:
                    self._link.open(self._probed)
                try:
                    self._link.tell(message)
                except LinkError as error:
                    failure, is_broken = failure or error, True
                else:
                    is_broken = False
                    break
        if failure is not None:
            self._link.close()
            raise failure

    def close(self) -> None:
        """Close the link. A poll that is under way is read first: the unit would report an interrupted answer as an error."""
        if self._is_asked:
            self._is_asked = False
            with contextlib.suppress(LinkError):
                self._link.hear()
        self._link.close()

    def inspect(
        self, channels: Collection[int], give_way: GiveWay = never, settings: Collection[Setting] = SETTINGS
    ) -> Inspection:
        """The error queue, the conditions of these settings and a poll: in one message where the unit takes that."""
        questions = [question for question in self._questions if question.concerns(channels, settings)]
        try:
            errors, answers, readings = self._inspect(
                [ask for one in questions for ask in one.asks(channels)], give_way
            )
            if readings is None:  # it gave way
                return Inspection({}, in_words(errors))
            bars, conditions = understood(questions, answers, channels)
        except MalformedAnswerError:
            self._link.close()
            raise
        silent = [f"{one.guard.ask} was not answered" for one in self._silent if one.concerns(channels, settings)]
        return Inspection(readings, in_words(errors), bars, silent, conditions)

    def complaints(self) -> list[str]:
        """The unit's error queue, emptied."""
        return in_words(self._errors())

    def poll_ahead(self) -> bool:
        """Send the message of the next poll, where a poll is one message."""
        messages = self._reader.plan.messages
        self._is_asked = len(messages) == 1 and self._link.ask_ahead(messages[0])
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
        model = identify(identity)
        if model is None or model not in self._models:
            wanted = " or ".join(candidate.name for candidate in self._models)
            raise IdentityError(
                f"at {self.address} is a {identity.manufacturer} {identity.model}, not a {wanted}; it gets no commands",
                identity,
            )
        if self._serial is not None and identity.serial != self._serial:
            raise IdentityError(
                f"at {self.address} is number {identity.serial}, not {self._serial}; it gets no commands", identity
            )
        return model

    def _probe(self, identity: Identity) -> None:
        """Find out in which messages the unit is polled, and which questions around a setting it answers."""
        kind = self._knowledge.kind(identity)
        unit = f"{identity.serial} at {self.address}"
        self._turn = turn = threading.Event()
        try:
            if self._is_hurried:
                turn.set()
            # A unit that was probed before waits for no other: an off may wait for this connection.
            with kind.probing(turn, 0.0 if identity == self._probed else LONGEST_WAIT):
                if self._is_hurried:
                    raise LinkError("the agent stops")
                self._reader = PollReader(self._find_batching(identity, kind, unit))
                self._find_questions(identity, kind, unit)
            self._probed = identity
        finally:
            self._turn = None

    def _find_batching(self, identity: Identity, kind: UnitKind, unit: str) -> PollPlan:
        """The plan of the fewest messages that this unit answers a poll in."""
        for batching in Batching:
            plan = poll_plan(self._model, batching)
            question = f"a poll, {batching.name}"
            if batching is not Batching.SINGLE and kind.refuses(question, unit):
                continue
            try:
                PollReader(plan).read([self._link.ask(message) for message in plan.messages])
            except (LinkError, MalformedAnswerError) as error:
                self._link.open(identity)
                refused = [number for number, _ in self._errors() if -500 < number <= -100]
                if not refused or batching is Batching.SINGLE:
                    raise
                kind.has_refused(question, unit)
                log.warning("%s: polls in smaller messages, as the unit refused larger ones: %s", self._name, error)
                continue
            kind.has_answered(question, unit)
            return plan
        raise AssertionError("unreachable")

    def _find_questions(self, identity: Identity, kind: UnitKind, unit: str) -> None:
        """Find out which questions on settings at the unit it answers, and if it takes all that is asked around a setting in one.

        A question is given up only if the unit itself refused it twice in a row: other units of the kind, and an answer that was
        lost on the way, take no check away. Where others refused it, this one is asked without waiting for an answer.
        """
        batching = self._reader.plan.batching
        asked = [
            Question(guard, self._model, takes_lists=batching is not Batching.SINGLE)
            for guard in self._model.guards
            if not kind.has_itself_refused(guard.ask, unit)
        ]
        self._silent = ()
        for question in [one for one in asked if kind.refuses(one.guard.ask, unit)]:
            if self._refuses(question, identity) and self._refuses(question, identity):
                self._give_up(question, kind, unit)
                asked.remove(question)
        answered: list[Question] = asked
        combines = batching is Batching.COMPOUND and not kind.refuses(_COMBINED, unit)
        if not (combines and self._answers_combined(asked, identity, kind, unit)):
            answered = [question for question in asked if self._answers(question, identity, kind, unit)]
            if combines:
                combines = len(answered) < len(asked) and self._answers_combined(answered, identity, kind, unit)
                if not combines:
                    kind.has_refused(_COMBINED, unit)
                    log.info("%s: a setting takes more messages, as the unit does not answer them in one", self._name)
        if combines:
            kind.has_answered(_COMBINED, unit)
        self._questions, self._combines = tuple(answered), combines

    def _answers_combined(self, questions: list[Question], identity: Identity, kind: UnitKind, unit: str) -> bool:
        """True if this unit answers a poll together with all that is asked around a setting.

        A unit that fails twice without an error of its own counts as one that does not: it would never be online.
        """
        outputs = [channel.index for channel in self._model.channels]
        try:
            _, answers, _ = self._ask_combined([ask for one in questions for ask in one.asks(outputs)])
            understood(questions, answers, outputs)
        except (LinkError, MalformedAnswerError):
            self._link.open(identity)
            if not self._errors() and not kind.is_doubted(_COMBINED, unit):
                raise
            return False
        for question in questions:
            kind.has_answered(question.guard.ask, unit)
        return True

    def _answers(self, question: Question, identity: Identity, kind: UnitKind, unit: str) -> bool:
        """True if this unit answers the question; it is among the silent ones if the unit did not even refuse it.

        :raises DriverError: it did not for the first time: the connection is to be tried again
        """
        ask, outputs = question.guard.ask, question.channels
        for _ in range(2):
            if self._is_hurried:
                raise LinkError("the agent stops")
            try:
                understood([question], [self._link.ask(one) for one in question.asks(outputs)], outputs)
            except (LinkError, MalformedAnswerError):
                self._link.open(identity)
                if has_command_error(self._errors()):
                    if self._refuses(question, identity):
                        break
                    continue
                if not kind.is_doubted(ask, unit):
                    raise
                self._silent += (question,)
                log.warning(
                    "%s: the unit did not answer %s; commands whose effect depends on it are refused", self._name, ask
                )
                return False
            kind.has_answered(ask, unit)
            return True
        self._give_up(question, kind, unit)
        return False

    def _refuses(self, question: Question, identity: Identity) -> bool:
        """True if the unit reports that it does not know the question. No answer is waited for, as that would take a timeout.

        If there is one, it may be taken for the answer to a later question: a unit that does not refuse gets a new link.
        """
        with contextlib.suppress(LinkError, MalformedAnswerError):
            self._link.tell(question.asks(question.channels)[0])
            if has_command_error(self._errors()):
                return True
        self._link.open(identity)
        self._errors()
        return False

    def _give_up(self, question: Question, kind: UnitKind, unit: str) -> None:
        guard = question.guard
        kind.has_refused(guard.ask, unit)
        log.warning(
            "%s: the unit (%s) does not know %s, so commands are carried out without this check: %s",
            self._name,
            unit,
            guard.ask,
            guard.text.format(channel="N", answer="another"),
        )

    # Asking.

    def _read(self, answers: list[str]) -> dict[int, Reading]:
        try:
            return self._reader.read(answers)
        except MalformedAnswerError:
            self._link.close()
            raise

    def _errors(self) -> list[Error]:
        return self._queue.read(self._model.series)

    def _inspect(
        self, questions: list[str], give_way: GiveWay
    ) -> tuple[list[Error], list[str], dict[int, Reading] | None]:
        """The entries of the error queue, the answers to the questions, and a poll; None for it if it was dropped."""
        if not self._combines:
            errors = self._errors()
            answers: list[str] = []
            for question in questions:
                if give_way():
                    return errors, answers, None
                answers.append(self._link.ask(question))
            return errors, answers, None if give_way() else self.poll(give_way)
        error, answers, readings = self._ask_combined(questions)
        if error[0] == 0:
            return [], answers, readings
        errors = [error, *self._errors()]
        if give_way():
            return errors, [], None
        # On a slow unit the readings that came with the first error are seconds old when the last error has been read.
        error, answers, readings = self._ask_combined(questions)
        return (errors if error[0] == 0 else [*errors, error]), answers, readings

    def _ask_combined(self, questions: list[str]) -> tuple[Error, list[str], dict[int, Reading]]:
        message = combine(self._model.series.error_query, questions, self._reader.plan.messages[0])
        error, answers, poll = take_apart(self._link.ask(message), len(questions))
        return error, answers, self._reader.read([poll])
