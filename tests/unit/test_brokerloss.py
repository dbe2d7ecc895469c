"""The loss of the broker: each output is turned off once a loss, when its time is up."""

from __future__ import annotations

import math

from agent.unit.brokerloss import BrokerLoss
from agent.unit.limits import DefaultSettings


def policy() -> BrokerLoss:
    return BrokerLoss(
        {
            1: DefaultSettings(),
            2: DefaultSettings(on_broker_loss="off", broker_loss_after=10),
            3: DefaultSettings(on_broker_loss="off", broker_loss_after=20),
        }
    )


def test_each_when_its_time_is_up_and_once() -> None:
    loss = policy()
    assert (loss.due(1000.0), loss.next_due()) == ([], math.inf)
    assert loss.tell(100.0)
    assert not loss.tell(100.0)
    assert (loss.due(109.9), loss.next_due()) == ([], 110.0)
    assert (loss.due(110.0), loss.next_due()) == ([2], 120.0)
    assert loss.gone_for(110.0) == 10.0
    assert loss.due(119.0) == []
    assert (loss.due(500.0), loss.next_due()) == ([3], math.inf)
    assert loss.due(501.0) == []


def test_a_moment_that_is_corrected_is_the_same_loss() -> None:
    loss = policy()
    loss.tell(100.0)
    assert loss.due(111.0) == [2]
    loss.tell(98.0)
    assert loss.due(112.0) == []
    assert loss.due(118.0) == [3]


def test_a_loss_whose_end_nobody_saw_is_another_one() -> None:
    """The broker was back for less time than the worker took for a message."""
    loss = policy()
    loss.tell(100.0)
    assert loss.due(130.0) == [2, 3]
    loss.tell(None)
    loss.tell(131.0)
    assert loss.due(140.0) == []
    assert loss.due(141.0) == [2]


def test_the_end_of_a_loss() -> None:
    loss = policy()
    loss.tell(100.0)
    loss.tell(None)
    assert (loss.due(1000.0), loss.next_due(), loss.gone_for(1000.0)) == ([], math.inf, 0.0)


def test_one_that_could_not_be_turned_off_is_due_again() -> None:
    loss = policy()
    loss.tell(100.0)
    assert loss.due(130.0) == [2, 3]
    loss.failed({3})
    assert loss.next_due() == 120.0
    assert loss.due(131.0) == [3]


def test_without_a_policy_nothing_is_due() -> None:
    loss = BrokerLoss({1: DefaultSettings()})
    loss.tell(0.0)
    assert (loss.due(1e9), loss.next_due()) == ([], math.inf)
