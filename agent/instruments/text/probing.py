"""Which messages a unit takes: found out when it is connected, and remembered for the units of its kind."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from agent.instruments.catalogue import Model
from agent.instruments.driver import Identity, LinkError, MalformedAnswerError, Reading
from agent.instruments.text.errors import Error, ErrorQueue, has_command_error, has_refused
from agent.instruments.text.guards import Asked, Question, understood
from agent.instruments.text.identified import IdentifiedLink
from agent.instruments.text.knowledge import UnitKind
from agent.instruments.text.messages import combine, take_apart
from agent.instruments.text.polling import Batching, Message, PollPlan, PollReader, poll_plan

log = logging.getLogger(__name__)

#: The name under which `UnitKind` remembers a poll that is combined with the questions around a setting.
_COMBINED = "everything around a setting in one message"
#: Questions that a unit may leave without a word before it is not asked the others: each takes two timeouts, in which no off is
#: sent.
_MOST_SILENT = 3
#: The same of a selection and a question in one message.
_SELECTED = "a selection and a question in one message"


class Probe:
    """Finds out how one unit is to be asked. For one thread.

    ``model``: that it is asked as. ``reader``: of its polls. ``questions``: on settings at the unit that it answers.
    ``silent``: those that it neither answered nor refused. ``combines``: it answers all that is asked around a setting in one
    message.
    """

    def __init__(
        self,
        link: IdentifiedLink,
        queue: ErrorQueue,
        model: Model,
        *,
        name: str,
        address: int | None,
        is_hurried: Callable[[], bool],
    ) -> None:
        """
        :param name: the unit's name, for the log
        :param is_hurried: True when the agent stops
        """
        self._link = link
        self._queue = queue
        self.model = model
        self._name = name
        self._address = address
        self._is_hurried = is_hurried
        self.reader = PollReader(poll_plan(model, first_batching(model), address))
        self.questions: tuple[Question, ...] = ()
        self.silent: tuple[Question, ...] = ()
        self.combines = False

    def run(self, identity: Identity, kind: UnitKind, unit: str) -> None:
        """Find all of it out.

        :param unit: a text that identifies the unit among those of its kind
        :raises DriverError: no answer, or one that can't be read
        """
        select = self.model.select
        if select is not None and select.compound and kind.refuses(_SELECTED, unit):
            self.model = selecting_apart(self.model)
        try:
            self._run(identity, kind, unit)
        except (LinkError, MalformedAnswerError):
            is_together = select is not None and select.compound and self.model.select == select
            if not is_together or kind.answers(_SELECTED) or not kind.is_doubted(_SELECTED, unit):
                raise
            kind.has_refused(_SELECTED, unit)
            log.warning(
                "%s: outputs are selected by messages of their own, as the unit did not answer behind one", self._name
            )
            self.model = selecting_apart(self.model)
            self._run(identity, kind, unit)

    def _run(self, identity: Identity, kind: UnitKind, unit: str) -> None:
        self.reader = self._find_batching(identity, kind, unit)
        if self.model.select is not None and self.model.select.compound:
            kind.has_answered(_SELECTED, unit)
        self._find_questions(identity, kind, unit)

    def poll(self) -> dict[int, Reading]:
        """Poll the unit once.

        :raises DriverError: no answer, or one that can't be read
        """
        return self.reader.read([ask(self._link, message) for message in self.reader.plan.messages])

    def _find_batching(self, identity: Identity, kind: UnitKind, unit: str) -> PollReader:
        """The reader of the fewest messages that this unit answers a poll in. It has read one: some values are told but once."""
        plans: list[PollPlan] = []
        for batching in [one for one in Batching if one >= first_batching(self.model)]:
            plan = poll_plan(self.model, batching, self._address)
            # A plan that is the same as the one before says nothing new.
            if not plans or plan.messages != plans[-1].messages:
                plans.append(plan)
        for plan in plans:
            question, is_last = f"a poll, {plan.batching.name}", plan is plans[-1]
            if not is_last and kind.refuses(question, unit):
                continue
            self.reader = PollReader(plan)
            for _ in range(2):
                failure = self._failure(identity)
                if failure is None:
                    kind.has_answered(question, unit)
                    return self.reader
                # A unit that reports no errors, or none for that, is asked in smaller messages when it failed twice; but not if
                # its kind has answered the large ones: then its answers are garbled, and small ones may be so without a sign.
                is_known = kind.answers(question)
                refused = has_refused(self._queue.read()) or not (self._queue.reports or is_known)
                if not is_last and (refused or (not is_known and kind.is_doubted(question, unit))):
                    break
                if is_last or is_known:
                    raise failure
                # The link works: the unit has told since who it is, and its errors. Once more, and it takes no such message.
            kind.has_refused(question, unit)
            log.warning("%s: polls in smaller messages, as the unit refused larger ones: %s", self._name, failure)
        raise AssertionError("unreachable")

    def _failure(self, identity: Identity) -> LinkError | MalformedAnswerError | None:
        """Poll once. Why that failed, None if it did not; there is a new link then."""
        try:
            self.poll()
        except (LinkError, MalformedAnswerError) as error:
            self._link.open(identity)
            return error
        return None

    def _find_questions(self, identity: Identity, kind: UnitKind, unit: str) -> None:
        """Find out which questions on settings at the unit it answers, and if it takes all that is asked around a setting in one.

        A question is given up only if the unit itself refused it twice in a row: other units of the kind, and an answer that
        was lost on the way, take no check away. Where others refused it, this one is asked without waiting for an answer.
        """
        batching = self.reader.plan.batching
        questions = [
            Question(guard, self.model, takes_lists=batching is not Batching.SINGLE, address=self._address)
            for guard in self.model.guards
        ]
        registers = [question for question in questions if question.guard.ask is None]
        asked = [q for q in questions if q.guard.ask is not None and not kind.has_itself_refused(q.name, unit)]
        self.silent = ()
        for question in [one for one in asked if kind.refuses(one.name, unit)]:
            if self._refuses(question, identity) and self._refuses(question, identity):
                self._give_up(question, kind, unit)
                asked.remove(question)
        answered: list[Question] = asked
        combines = self._may_combine(asked) and not kind.refuses(_COMBINED, unit)
        if not (combines and self._answers_combined(asked, identity, kind, unit)):
            answered = [question for question in asked if self._answers(question, identity, kind, unit)]
            if combines:
                combines = len(answered) < len(asked) and self._answers_combined(answered, identity, kind, unit)
                if not combines:
                    kind.has_refused(_COMBINED, unit)
                    log.info("%s: a setting takes more messages, as the unit does not answer them in one", self._name)
        if combines:
            kind.has_answered(_COMBINED, unit)
        self.questions, self.combines = (*answered, *registers), combines

    def _may_combine(self, questions: Sequence[Question]) -> bool:
        """True if all that is asked around a setting may stand in one message, as the series file has it."""
        plan, link, errors = self.reader.plan, self.model.series.link, self.model.series.errors
        if plan.batching is not Batching.COMPOUND or not plan.is_one_message or errors is None or errors.acknowledges:
            return False
        if self._queue.query is None or link.parts is not None or link.longest is not None:
            return False
        outputs = [channel.index for channel in self.model.channels]
        asks = [one for question in questions for one in question.asks(outputs)]
        return all(one.select is None and one.length is None for one in asks)

    def _answers_combined(self, questions: list[Question], identity: Identity, kind: UnitKind, unit: str) -> bool:
        """True if this unit answers a poll together with all that is asked around a setting.

        A unit that fails twice without an error of its own counts as one that does not: it would never be online.
        """
        outputs = [channel.index for channel in self.model.channels]
        asks = [one for question in questions for one in question.asks(outputs)]
        for _ in range(2):
            try:
                _, answers, _ = self.ask_combined(asks)
                understood(questions, answers, outputs)
                break
            except (LinkError, MalformedAnswerError):
                self._link.open(identity)
                is_known = kind.answers(_COMBINED)
                if self._queue.read() or (not is_known and kind.is_doubted(_COMBINED, unit)):
                    return False
                if is_known:
                    raise
        for question in questions:
            kind.has_answered(question.name, unit)
        return True

    def ask_combined(self, asks: Sequence[Asked]) -> tuple[Error | None, list[str], dict[int, Reading]]:
        """The oldest error, the answers to these questions and a poll, from one message.

        :raises DriverError: no answer, or one that can't be read
        """
        assert self._queue.query is not None
        link = self.model.series.link
        message = combine(
            self._queue.query, [one.text for one in asks], self.reader.plan.messages[0].text, link.separator
        )
        error, answers, poll = take_apart(self._link.ask(message), len(asks))
        return self._queue.parsed(error), answers, self.reader.read([poll])

    def ask_questions(self, questions: Collection[Question], channels: Collection[int]) -> list[str]:
        """The answers to all that these questions ask of these outputs.

        :raises DriverError: no answer
        """
        return [ask(self._link, one) for question in questions for one in question.asks(channels)]

    def _answers(self, question: Question, identity: Identity, kind: UnitKind, unit: str) -> bool:
        """True if this unit answers the question; it is among the silent ones if the unit did not even refuse it.

        :raises DriverError: once it did not answer, and once it refused: the connection is to be tried again
        """
        name, outputs = question.name, question.channels
        refusals = 0
        if len(self.silent) >= _MOST_SILENT:
            self._note_silent(question)
            return False
        for is_again in (False, True):
            if self._is_hurried():
                raise LinkError("the agent stops")
            try:
                understood([question], self.ask_questions([question], outputs), outputs)
            except (LinkError, MalformedAnswerError):
                self._link.open(identity)
                if has_command_error(self._queue.read()):
                    refusals += 1
                    if self._refuses(question, identity):
                        break
                    if is_again and refusals < 2:
                        raise
                    continue
                if not kind.is_doubted(name, unit):
                    if is_again:
                        raise
                    continue
                self._note_silent(question)
                return False
            kind.has_answered(name, unit)
            return True
        self._give_up(question, kind, unit)
        return False

    def _note_silent(self, question: Question) -> None:
        self.silent += (question,)
        log.warning(
            "%s: the unit did not answer %s; commands whose effect depends on it are refused", self._name, question.name
        )

    def _refuses(self, question: Question, identity: Identity) -> bool:
        """True if the unit reports that it does not know the question. No answer is waited for, as that would take a timeout.

        If there is one, it may be taken for the answer to a later question: a unit that does not refuse gets a new link.
        """
        first = question.asks(question.channels)[0]
        with contextlib.suppress(LinkError, MalformedAnswerError):
            for text in (first.select, first.text):
                if text is not None:
                    self._link.tell(text)
            if has_command_error(self._queue.read()):
                return True
        self._link.open(identity)
        self._queue.read()
        return False

    def _give_up(self, question: Question, kind: UnitKind, unit: str) -> None:
        kind.has_refused(question.name, unit)
        log.warning(
            "%s: the unit (%s) does not know %s, so commands are carried out without this check: %s",
            self._name,
            unit,
            question.name,
            question.guard.text.format(channel="N", answer="another"),
        )


@lru_cache(maxsize=16)  # plans are made once for a model
def selecting_apart(model: Model) -> Model:
    """The same model with each selection of an output in a message of its own."""
    series = model.series
    select = None if series.select is None else series.select.model_copy(update={"compound": False})
    return Model(model.name, series.model_copy(update={"select": select}), model.entry)


def first_batching(model: Model) -> Batching:
    """The largest messages that the series file allows."""
    return Batching.LISTS if model.series.link.compound == "no" else Batching.COMPOUND


def ask(link: IdentifiedLink, message: Message | Asked) -> str:
    """The answer to a question.

    :raises DriverError: no answer
    """
    return link.ask(message.text, message.length, message.select)
