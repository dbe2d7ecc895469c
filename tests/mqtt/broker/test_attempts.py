"""The way in which the next connection is tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.broker.attempts import (
    FIRST_LIMIT,
    LAST_LIMIT,
    LAST_RETRY,
    LONGEST_OPENING,
    SHORT_LIVED,
    Attempts,
    Outcome,
)
from tests.properties import examples

CLOSED, REFUSED_VERSION, OTHER = Outcome.CLOSED, Outcome.REFUSED_VERSION, Outcome.OTHER


def test_a_broker_that_refuses_5_is_spoken_to_in_3_1_1_at_once() -> None:
    attempts = Attempts()
    assert (attempts.protocol, attempts.has_fallen_back) == ("5", False)
    assert not attempts.failed(REFUSED_VERSION)
    assert (attempts.protocol, attempts.has_fallen_back, attempts.is_trial) == ("3.1.1", True, False)


def test_a_broker_that_closes_is_asked_again_before_3_1_1_is_used() -> None:
    attempts = Attempts()
    assert [attempts.failed(CLOSED), attempts.protocol] == [False, "5"]
    assert [attempts.failed(CLOSED), attempts.protocol, attempts.is_trial] == [False, "3.1.1", True]
    assert not attempts.failed(Outcome.TRIED)
    assert attempts.protocol == "5"
    assert not attempts.failed(CLOSED)
    assert (attempts.protocol, attempts.is_trial) == ("3.1.1", False)


def test_a_broker_that_never_answers_5_is_asked_in_3_1_1() -> None:
    """As aMQTT with passwords."""
    attempts = Attempts()
    assert attempts.failed(Outcome.SILENT)
    assert attempts.failed(Outcome.SILENT)
    assert attempts.is_trial
    attempts.failed(Outcome.TRIED)
    assert not attempts.failed(Outcome.SILENT)
    assert (attempts.protocol, attempts.is_trial) == ("3.1.1", False)


def test_a_broker_that_accepts_5_and_is_slow_keeps_it() -> None:
    attempts = Attempts()
    for _ in range(9):
        assert attempts.failed(Outcome.SLOW)
        assert attempts.protocol == "5"
    assert attempts.limit == LAST_LIMIT


@pytest.mark.parametrize("after", [CLOSED, OTHER])
def test_a_broker_that_fails_in_another_way_after_the_trial_is_not_certain(after: Outcome) -> None:
    attempts = Attempts()
    attempts.failed(Outcome.SILENT)
    attempts.failed(Outcome.SILENT)
    attempts.failed(Outcome.TRIED)
    attempts.failed(after)
    assert attempts.protocol == "5"


@pytest.mark.parametrize("between", [OTHER, Outcome.SILENT, Outcome.REFUSED])
def test_closings_count_in_a_row_only(between: Outcome) -> None:
    attempts = Attempts()
    for _ in range(10):
        attempts.failed(CLOSED)
        assert attempts.failed(between)
        assert attempts.protocol == "5"


def test_a_broker_that_restarts_keeps_5() -> None:
    """It closes the connections to 5 by chance, and takes 3.1.1 as it would take 5."""
    attempts = Attempts()
    attempts.failed(CLOSED)
    attempts.failed(CLOSED)
    assert attempts.is_trial
    assert not attempts.failed(Outcome.TRIED)
    attempts.accepted()
    assert attempts.protocol == "5"
    attempts.failed(CLOSED)
    assert attempts.protocol == "5"


@pytest.mark.parametrize("outcome", [CLOSED, REFUSED_VERSION, OTHER])
def test_a_broker_that_refuses_3_1_1_too_is_tried_with_5_again(outcome: Outcome) -> None:
    attempts = Attempts()
    attempts.failed(REFUSED_VERSION)
    attempts.accepted()
    attempts.ended(100.0)
    assert attempts.protocol == "3.1.1"  # what worked in this run
    assert attempts.failed(outcome)
    assert (attempts.protocol, attempts.has_fallen_back) == ("5", False)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.SILENT])
def test_a_wrong_password_is_told_and_keeps_the_version(outcome: Outcome) -> None:
    attempts = Attempts()
    attempts.failed(REFUSED_VERSION)
    assert attempts.failed(outcome)
    assert attempts.protocol == "3.1.1"


def test_the_limit_grows_with_silence_alone_and_shrinks_with_success() -> None:
    attempts = Attempts()
    limits = []
    for _ in range(6):
        limits.append(attempts.limit)
        assert attempts.failed(Outcome.SILENT)
        attempts.failed(OTHER)
    assert limits == [5, 10, 20, 40, 60, 60]
    assert attempts.opening_limit == FIRST_LIMIT
    for _ in range(3):
        assert attempts.failed(Outcome.UNANSWERED)
    assert attempts.opening_limit == LONGEST_OPENING
    attempts.accepted()
    assert attempts.limit == attempts.opening_limit == FIRST_LIMIT


def test_without_retained_messages_the_will_is_not_retained_until_the_connection_ends() -> None:
    attempts = Attempts()
    assert not attempts.failed(Outcome.NO_RETAINED_WILL)
    assert not attempts.retains_will
    assert attempts.protocol == "5"
    attempts.accepted()
    assert not attempts.retains_will
    attempts.ended(100.0)
    assert attempts.retains_will
    attempts.failed(Outcome.NO_RETAINED_WILL)
    assert attempts.failed(Outcome.NO_RETAINED_WILL)  # it refuses the other will for that, too


@pytest.mark.parametrize("wanted", ["5", "3.1.1"])
@examples(50)
@given(outcomes=st.lists(st.sampled_from([one for one in Outcome if one is not Outcome.TRIED]), max_size=20))
def test_a_version_that_was_asked_for_is_kept(wanted: str, outcomes: list[Outcome]) -> None:
    attempts = Attempts(wanted)  # type: ignore[arg-type]
    for outcome in outcomes:
        is_told = attempts.failed(outcome)
        assert is_told or outcome is Outcome.NO_RETAINED_WILL
        assert (attempts.protocol, attempts.is_trial) == (wanted, False)


class Broker:
    """Knows some versions; refuses the others in its way; is away or restarts for the first tries."""

    def __init__(self, knows: set[str], way: Outcome, before: list[Outcome]) -> None:
        self.knows, self.way, self.before = knows, way, list(before)

    def meets(self, attempts: Attempts) -> Outcome | None:
        if self.before:
            return self.before.pop(0)
        return None if attempts.protocol in self.knows else self.way


@examples(100)
@given(
    knows=st.sampled_from([{"5"}, {"3.1.1"}, {"5", "3.1.1"}]),
    way=st.sampled_from([CLOSED, REFUSED_VERSION, Outcome.SILENT]),
    before=st.lists(st.sampled_from([CLOSED, OTHER, Outcome.SILENT, Outcome.REFUSED]), max_size=12),
)
def test_after_whatever_it_ends_with_the_best_version_that_the_broker_knows(
    knows: set[str], way: Outcome, before: list[Outcome]
) -> None:
    """3.1.1 comes to be used only where the broker does not know 5, and it takes few tries."""
    attempts, broker = Attempts(), Broker(knows, way, before)
    for _ in range(len(before) + 7):
        outcome = broker.meets(attempts)
        if outcome is not None:
            attempts.failed(outcome)
        elif attempts.is_trial:
            assert not attempts.failed(Outcome.TRIED)
        else:
            break
    else:
        pytest.fail("no connection")
    assert attempts.protocol == ("5" if "5" in knows else "3.1.1")
    attempts.accepted()
    assert attempts.limit <= LAST_LIMIT


def test_connections_that_do_not_last_are_made_again_after_longer_and_longer_pauses() -> None:
    attempts = Attempts()
    assert attempts.pause == 0
    pauses = []
    for _ in range(8):
        attempts.ended(SHORT_LIVED / 2)
        pauses.append(attempts.pause)
    assert pauses == sorted(pauses)
    assert pauses[0] < 1 < pauses[-1] == LAST_RETRY
    attempts.ended(SHORT_LIVED)
    assert attempts.pause == 0
