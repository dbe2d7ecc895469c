"""Leases by MQTT, on a real broker with simulated supplies: who gets one, whose commands are carried out, and who is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agent.service.leases import leases
from tests.lab import PATIENCE, Bench, Observer, needs, wait_until
from tests.service.commands.commanding import unique, writes

_PLACES = ("psu1", "psu1/1", "psu1/2", "psu1/3", "psu2")


def ask(observer: Observer, place: str, holder: str, **fields: Any) -> Any:
    return observer.ask(f"psu/{place}/lease/set", {"holder": holder, **fields})


def code(observer: Observer, place: str, holder: str, **fields: Any) -> str:
    response = ask(observer, place, holder, **fields)
    return "ok" if response["ok"] else str(response["error"]["code"])


def retained(observer: Observer, place: str) -> Any:
    """The newest message on the place's lease."""
    return observer.on(f"psu/{place}/lease")[-1].json


def wait_holder(observer: Observer, place: str, holder: str | None) -> Any:
    topic = f"psu/{place}/lease"
    wait_until(
        lambda: observer.count(topic) and observer.on(topic)[-1].json["holder"] == holder, f"{place} of {holder}"
    )
    return retained(observer, place)


@pytest.fixture(autouse=True)
def free(bench: Bench, observer: Observer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(leases, "CORRECTING", 0.1)
    yield
    for place in _PLACES:
        assert code(observer, place, "the test", release=True, force=True) in ("ok", "unsupported")


def test_a_lease_is_taken_renewed_and_given_back(observer: Observer) -> None:
    response = ask(observer, "psu1", "ci-42", ttl=60, id="7")
    assert (response["ok"], response["id"], response["psu"], response["index"]) == (True, "7", "psu1", None)
    lease = response["result"]
    assert (lease["holder"], lease["agent"], lease["psu"], lease["index"]) == ("ci-42", "bench", "psu1", None)
    assert lease["since"] < lease["until"]
    told = wait_holder(observer, "psu1", "ci-42")
    assert (told["since"], told["until"]) == (lease["since"], lease["until"])
    renewed = ask(observer, "psu1", "ci-42", ttl=120)["result"]
    assert renewed["since"] == lease["since"]
    assert renewed["until"] > lease["until"]
    assert ask(observer, "psu1", "ci-42", release=True)["result"]["holder"] is None
    assert wait_holder(observer, "psu1", None)["until"] is None
    assert code(observer, "psu1", "ci-42", release=True) == "ok"  # the end of a script need not know if it has ended


def test_it_is_retained_for_who_comes_later(bench: Bench, observer: Observer) -> None:
    assert code(observer, "psu1/2", "ci-42", ttl=60) == "ok"
    late = Observer(bench.data["settings"]["mqtt"]["port"], "psu/+/2/lease")
    try:
        assert late.wait("psu/psu1/2/lease")["holder"] == "ci-42"
        assert late.received[0].retain
    finally:
        late.close()


def test_while_one_holds_it_others_are_refused_and_told_who_and_until_when(bench: Bench, observer: Observer) -> None:
    until = ask(observer, "psu1", "ci-42", ttl=60)["result"]["until"]
    bench.simulator.instrument.clear_log()
    for topic, payload in (
        ("psu1/2/set", {"voltage_limit": 3}),
        ("psu1/2/set", {"voltage_limit": 3, "lease": "ci-43"}),
        ("psu1/2/set/voltage_limit", "3"),
        ("psu1/2/set/state", "ON"),
        ("psu1/2/set", {"cycle": 0}),
        ("psu1/2/set", {"voltage_limit": 3, "ramp": 1}),
        ("psu1/set", {"state": True}),
        ("psu1/VDD/set", {"current_limit": 0.5}),
    ):
        response = observer.ask(f"psu/{topic}", payload)
        assert response["error"]["code"] == "claimed", (topic, payload)
        assert "result" not in response
        assert f"psu1 is reserved for ci-42 until {until[:19]}Z" in response["error"]["message"]
    assert writes(bench) == []
    for place in ("psu1", "psu1/2"):
        for fields in ({"ttl": 60}, {"release": True}):
            response = ask(observer, place, "ci-43", **fields)
            if place == "psu1/2" and "release" in fields:
                assert response["ok"]  # it holds nothing there
                continue
            assert response["error"]["code"] == "claimed"
            assert "ci-42" in response["error"]["message"]
    assert retained(observer, "psu1")["holder"] == "ci-42"
    assert observer.code("psu/psu2/2/set", {"voltage_limit": 1}) == "ok"  # another unit


def test_the_holder_names_himself_and_is_obeyed(bench: Bench, observer: Observer) -> None:
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 3, "lease": "ci-42"}) == "ok"
    assert observer.code("psu/psu1/set", {"state": True, "lease": "ci-42"}) == "ok"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 99, "lease": "ci-42"}) == "out_of_range"


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("psu1/2/set", {"state": False}),
        ("psu1/2/set", {"state": False, "lease": "ci-43"}),
        ("psu1/2/set", "OFF"),
        ("psu1/2/set/state", "0"),
        ("psu1/set", {"state": False}),
        ("psu1/set/state", "OFF"),
        ("all/set", "OFF"),
        ("all/set", {"state": False, "lease": "nobody"}),
    ],
)
def test_an_off_is_done_whoever_sends_it(
    bench: Bench, observer: Observer, topic: str, payload: str | dict[str, Any]
) -> None:
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 3, "state": True}) == "ok"
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    assert code(observer, "psu1/2", "ci-44", ttl=60, force=True) == "ok"
    after = observer.mark()
    if topic.startswith("all"):
        observer.send(f"psu/{topic}", payload)
        assert observer.wait("psu/psu1/response", after=after)["ok"]
    else:
        assert observer.code(f"psu/{topic}", payload) == "ok"
    assert bench.simulator.instrument.execute("OUTP? (@2)") == "0"
    assert retained(observer, "psu1")["holder"] == "ci-42"


def test_of_an_off_with_something_else_the_off_is_done(bench: Bench, observer: Observer) -> None:
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 3, "state": True}) == "ok"
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    response = observer.ask("psu/psu1/2/set", {"state": False, "voltage_limit": 4})
    assert response["error"]["code"] == "claimed"
    assert (response["result"]["state"], response["result"]["voltage_limit"]) == (False, 3.0)


def test_a_channel_and_its_unit(observer: Observer) -> None:
    assert code(observer, "psu1/2", "ci-42", ttl=60) == "ok"
    assert code(observer, "psu1", "ci-43", ttl=60) == "claimed"
    assert code(observer, "psu1/3", "ci-43", ttl=60) == "ok"
    assert code(observer, "psu1/VDD", "ci-43", ttl=60) == "ok"
    assert retained(observer, "psu1/1")["index"] == 1
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "claimed"
    # A command to the whole unit reaches channels of both.
    for lease in (None, "ci-42", "ci-43"):
        command = {"state": True} if lease is None else {"state": True, "lease": lease}
        assert observer.code("psu/psu1/set", command) == "claimed"
    assert code(observer, "psu1/3", "ci-43", release=True) == "ok"
    assert observer.code("psu/psu1/3/set", {"voltage_limit": 1}) == "ok"  # nobody's
    assert code(observer, "psu1/1", "ci-43", release=True) == "ok"
    # The others are free, and one is its own.
    assert observer.code("psu/psu1/set", {"state": True, "lease": "ci-42"}) == "ok"
    # The same holder takes the whole as well, and gives the part back.
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    assert code(observer, "psu1/2", "ci-42", release=True) == "ok"
    assert code(observer, "psu1/2", "ci-42", release=True) == "unsupported"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "claimed"


def test_force_takes_a_channel_out_of_a_unit_and_a_unit_with_all_its_channels(observer: Observer) -> None:
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    assert code(observer, "psu1/2", "ann", ttl=60, force=True) == "ok"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1, "lease": "ci-42"}) == "claimed"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1, "lease": "ann"}) == "ok"
    assert observer.code("psu/psu1/3/set", {"voltage_limit": 1, "lease": "ci-42"}) == "ok"
    assert code(observer, "psu1", "ci-42", ttl=90) == "ok"  # renews what it has
    assert code(observer, "psu1/2", "ci-42", ttl=90) == "claimed"
    assert code(observer, "psu1", "bob", ttl=60) == "claimed"
    assert code(observer, "psu1", "bob", ttl=60, force=True) == "ok"
    assert wait_holder(observer, "psu1/2", None)["since"] is None
    for holder, wanted in (("ci-42", "claimed"), ("ann", "claimed"), ("bob", "ok")):
        assert observer.code("psu/psu1/2/set", {"voltage_limit": 1, "lease": holder}) == wanted
    assert code(observer, "psu1", "ann", release=True) == "claimed"
    assert code(observer, "psu1", "ann", release=True, force=True) == "ok"


def test_it_ends_by_itself_and_is_told(observer: Observer) -> None:
    assert code(observer, "psu1/2", "ci-42", ttl=1) == "ok"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "claimed"
    wait_holder(observer, "psu1/2", None)
    response = observer.ask("psu/psu1/2/set", {"voltage_limit": 1, "lease": "ci-42"})
    assert response["error"]["code"] == "claimed"
    assert "it has ended" in response["error"]["message"]
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "ok"


def test_a_command_that_names_a_lease_nobody_ever_took_is_refused(observer: Observer) -> None:
    response = observer.ask("psu/psu2/2/set", {"voltage_limit": 1, "lease": "ci-42"})
    assert response["error"]["code"] == "claimed"
    assert "take it" in response["error"]["message"]


# A ramp that is under way.


def ramp(observer: Observer, speed: float = 4.5, **fields: Any) -> str:
    """Begin a ramp to 9 V and wait until it is under way. Its id. Slow (V/s) where what follows is to end it."""
    identity = unique("ramp")
    after = observer.mark()
    observer.send("psu/psu1/2/set", {"voltage_limit": 9, "ramp": speed, "id": identity, **fields})
    observer.wait("psu/psu1/2/state", lambda state: 0.2 < state["voltage_limit"] < 8, after=after)
    return identity


def outcome(observer: Observer, identity: str) -> Any:
    return observer.wait("psu/psu1/2/response", lambda response: response["id"] == identity)


def test_a_ramp_goes_on_when_somebody_takes_a_lease_on_its_channel(observer: Observer) -> None:
    begun = ramp(observer)
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    assert outcome(observer, begun)["ok"]
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "claimed"


def test_a_ramp_ends_at_its_next_step_when_the_lease_is_taken_by_force(bench: Bench, observer: Observer) -> None:
    begun = ramp(observer, 1.0)
    assert code(observer, "psu1", "ci-42", ttl=60, force=True) == "ok"
    response = outcome(observer, begun)
    assert response["error"]["code"] == "claimed"
    assert "ci-42" in response["error"]["message"]
    assert "the last that was done is voltage_limit" in response["error"]["message"]
    state = observer.wait_state("psu1", 2, after=observer.mark())
    assert state["voltage_limit"] < 9


def test_a_ramp_of_its_holder_outlives_the_lease_but_not_the_next_holder(observer: Observer) -> None:
    assert code(observer, "psu1/2", "ci-42", ttl=60) == "ok"
    begun = ramp(observer, lease="ci-42")
    assert code(observer, "psu1/2", "ci-42", release=True) == "ok"
    assert outcome(observer, begun)["ok"]
    observer.clear()
    assert code(observer, "psu1/2", "ci-42", ttl=60) == "ok"
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 0, "lease": "ci-42"}) == "ok"
    begun = ramp(observer, 1.0, lease="ci-42")
    assert code(observer, "psu1/2", "ci-42", release=True) == "ok"
    assert code(observer, "psu1/2", "ci-43", ttl=60) == "ok"
    assert outcome(observer, begun)["error"]["code"] == "claimed"


# Requests that are no good.


@pytest.mark.parametrize(
    ("topic", "payload", "wanted"),
    [
        ("psu1/lease/set", "", "bad_payload"),
        ("psu1/lease/set", "OFF", "bad_payload"),
        ("psu1/lease/set", {"holder": "a\u0007", "ttl": 60}, "bad_payload"),
        ("psu1/lease/set", {"holder": "x" * 65, "ttl": 60}, "bad_payload"),
        ("psu1/lease/set", {"holder": "x", "ttl": 604801}, "bad_payload"),
        ("psu1/lease/set/", {"holder": "x", "ttl": 60}, "bad_payload"),
        ("psu1/lease/set/holder", "x", "bad_payload"),
        ("psu1/9/lease/set", {"holder": "x", "ttl": 60}, "unknown_channel"),
        ("psu1//lease/set", {"holder": "x", "ttl": 60}, "unknown_channel"),
        ("psu1/lease/lease/set", {"holder": "x", "ttl": 60}, "unknown_channel"),
    ],
)
def test_refused_requests(observer: Observer, topic: str, payload: str | dict[str, Any], wanted: str) -> None:
    response = observer.ask(f"psu/{topic}", payload)
    assert response["error"]["code"] == wanted
    assert response["error"]["message"].isprintable()


def test_a_retained_request_is_refused(observer: Observer) -> None:
    needs("mosquitto")  # iotcore hides the flag
    response = observer.ask("psu/psu1/2/lease/set", {"holder": "ci-42", "ttl": 60, "id": "r"}, retain=True)
    assert (response["error"]["code"], response["id"]) == ("retained", "r")
    observer.send("psu/psu1/2/lease/set", "", retain=True)
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "ok"


def test_a_request_that_came_before_is_refused(observer: Observer) -> None:
    assert code(observer, "psu1", "ci-42", ttl=60, id="once") == "ok"
    assert code(observer, "psu1", "ci-42", release=True) == "ok"
    assert code(observer, "psu1", "ci-42", ttl=60, id="once") == "duplicate"
    assert code(observer, "psu1/2", "ci-42", ttl=60, id="once") == "ok"  # another place
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1, "lease": "ci-42", "id": "once"}) == "ok"


def test_without_a_response_topic_the_response_stands_where_those_of_commands_do(observer: Observer) -> None:
    for place in ("psu1", "psu1/2"):
        after = observer.mark()
        observer.send(f"psu/{place}/lease/set", {"holder": "ci-42", "ttl": 60})
        assert observer.wait(f"psu/{place}/response", after=after)["result"]["holder"] == "ci-42"


@pytest.mark.parametrize("holder", ["lab/+/#", "+", "#", "$share/x", "née Müller", "x" * 64])
def test_a_holder_may_be_called_anything_that_can_be_printed(observer: Observer, holder: str) -> None:
    assert code(observer, "psu1/2", holder, ttl=60) == "ok"
    assert retained(observer, "psu1/2")["holder"] == holder
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1, "lease": holder}) == "ok"
    assert holder in observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["error"]["message"]


def test_of_two_who_ask_at_once_one_gets_it(bench: Bench, observer: Observer) -> None:
    port = bench.data["settings"]["mqtt"]["port"]
    observers = [Observer(port, f"clients/{number}") for number in range(4)]
    start, won = threading.Barrier(len(observers)), list[str]()

    def contend(number: int, client: Observer) -> None:
        start.wait(PATIENCE)
        topic, holder = f"clients/{number}", f"ci-{number}"
        for round_ in range(5):
            asked = json.dumps({"holder": holder, "ttl": 60})
            client.send("psu/psu1/lease/set", asked, response_topic=topic, correlation=f"{holder} {round_}".encode())

    try:
        threads = [threading.Thread(target=contend, args=pair) for pair in enumerate(observers)]
        for thread in threads:
            thread.start()
        for number, client in enumerate(observers):
            threads[number].join(PATIENCE)
            wait_until(lambda: client.count(f"clients/{number}") == 5, "five responses")  # noqa: B023
            ok = [message.json["ok"] for message in client.on(f"clients/{number}")]
            assert len(set(ok)) == 1
            won += [f"ci-{number}"] if ok[0] else []
        assert len(won) == 1
        assert retained(observer, "psu1")["holder"] == won[0]
    finally:
        for client in observers:
            client.close()


# What strangers publish.


@pytest.mark.parametrize("retain", [True, False])
@pytest.mark.parametrize("place", ["psu1", "psu2/3"])
@pytest.mark.parametrize("payload", ['{"holder": "mallory", "until": "2099-01-01T00:00:00Z"}', "garbage", "\0"])
def test_a_forged_lease_is_corrected_and_holds_nothing(
    observer: Observer, place: str, payload: str, retain: bool
) -> None:
    topic = f"psu/{place}/lease"
    observer.send(topic, payload, retain=retain)
    wait_until(lambda: observer.count(topic), "the forged one")

    def corrected() -> bool:
        newest = observer.on(topic)[-1].payload
        return newest.startswith(b"{") and json.loads(newest).get("agent") == "bench"

    wait_until(corrected, "the correction")
    assert retained(observer, place)["holder"] is None
    channel = place.partition("/")[2] or "2"
    assert observer.code(f"psu/{place.partition('/')[0]}/{channel}/set", {"voltage_limit": 1}) == "ok"


def test_a_lease_that_is_overwritten_or_removed_is_told_again(observer: Observer) -> None:
    assert code(observer, "psu1", "ci-42", ttl=60) == "ok"
    wait_holder(observer, "psu1", "ci-42")
    for payload in ("", '{"holder": "mallory"}'):
        observer.clear()
        observer.send("psu/psu1/lease", payload, retain=True)
        observer.wait("psu/psu1/lease", lambda lease: lease["holder"] == "ci-42")
    assert observer.code("psu/psu1/2/set", {"voltage_limit": 1, "lease": "mallory"}) == "claimed"
