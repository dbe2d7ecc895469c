"""Offs from the screen: sent by themselves, and never without a word on what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.cli.watching.offs import Offs, _told
from agent.client.address import Address
from agent.client.request import CommandOutcome, Target
from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from agent.protocol.messages import Response, ResponseError, utc_now


def response(psu: str, index: int | None = None, **changes: Any) -> Response:
    return Response(**{"id": "1", "ok": True, "time": utc_now(), "psu": psu, "index": index, **changes})


REFUSED = {"ok": False, "error": ResponseError(code="offline", message="the unit\x1b[2J is offline")}


@pytest.mark.parametrize(
    ("target", "outcome", "lines", "is_done"),
    [
        (Target("psu1", "2"), CommandOutcome([response("psu1", 2)]), ("psu1/2 is off, confirmed",), True),
        (
            Target("psu1", "2"),
            CommandOutcome([response("psu1", 2, also_off=[1, 3])]),
            ("psu1/2 is off, confirmed; psu1/1, psu1/3 went off too",),
            True,
        ),
        (
            Target("psu1", "2"),
            CommandOutcome([response("psu1", 2, **REFUSED)]),
            ("psu1/2 refused: the unit�[2J is offline (offline)",),
            False,
        ),
        (Target("psu1"), CommandOutcome(), ("psu1: nobody answered within 10 s: it may still be on",), False),
        (
            Target("all"),
            CommandOutcome([response("psu1"), response("psu2")], {"psu3"}, {"psu4"}),
            (
                "psu3 did not answer within 10 s: it may still be on",
                "psu4 was not reached, its agent is offline: it may still be on",
                "all off: confirmed by 2 units",
            ),
            False,
        ),
        (Target("all"), CommandOutcome([response("psu1")]), ("all off: confirmed by 1 unit",), True),
        (Target("all"), CommandOutcome(), ("all off: nobody answered within 10 s: it may still be on",), False),
    ],
)
def test_what_is_told(target: Target, outcome: CommandOutcome, lines: tuple[str, ...], is_done: bool) -> None:
    result = _told(target, outcome)
    assert (result.lines, result.is_done) == (lines, is_done)


def test_without_a_broker_it_says_at_once_that_nothing_was_sent() -> None:
    offs = Offs(Address(host="127.0.0.1", port=free_port()))
    offs.send(Target("all"), "5")
    assert offs.pending == [Target("all")]
    (result,) = offs.results(wait=20)
    assert result.lines[0].startswith("all off: the off was NOT SENT: can't reach the broker")
    assert not result.is_done
    assert offs.pending == []
    assert offs.results() == []


def test_a_broker_that_does_not_let_the_user_send_it(make_broker: Callable[..., LocalBroker], tmp_path: Any) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read psu/#\n")
    broker = make_broker(kind="mosquitto", conf=f"acl_file {acl}\n")
    offs = Offs(Address(host=broker.host, port=broker.port))
    offs.send(Target("psu1", "1"), "5")
    (result,) = offs.results(wait=20)
    assert "did not take it: not authorized" in result.lines[0]
    assert not result.is_done


def test_where_nobody_listens(broker: LocalBroker) -> None:
    offs = Offs(Address(host=broker.host, port=broker.port))
    offs.send(Target("psu1", "1"), "5")
    (result,) = offs.results(wait=20)
    assert result.lines[0].startswith(("psu1/1: NOT turned off: no agent listens", "psu1/1: nobody answered"))
