"""Offs that the user has confirmed: each is sent by a thread with a connection of its own, so that nothing holds it up.

The screen's own connection is not used: paho would keep an off while the broker is gone, and send it when nobody expects it.
"""

from __future__ import annotations

import queue
import threading
import uuid
from dataclasses import dataclass, replace

from agent.cli.terminal import response_lines
from agent.client import request
from agent.client.address import Address
from agent.client.connection import BrokerError, Client, NobodyAnsweredError
from agent.client.request import CommandOutcome, Target
from agent.protocol.words import counted

#: s to wait for the responses.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an off, in sentences. ``is_done``: every output that it is for is off."""

    target: Target
    lines: tuple[str, ...]
    is_done: bool


class Offs:
    """Sends offs and tells their outcomes. For one thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._results: queue.SimpleQueue[tuple[int, Result]] = queue.SimpleQueue()
        self._pending: dict[int, Target] = {}
        self._count = 0

    @property
    def pending(self) -> list[Target]:
        """Those whose outcome is not known yet."""
        return list(self._pending.values())

    def send(self, target: Target, protocol: str) -> None:
        """Send an off to a channel, a unit or ``all``. Returns at once.

        :param protocol: the version of MQTT that the broker is known to speak
        """
        self._count += 1
        self._pending[self._count] = target
        address = replace(self._address, protocol="3.1.1" if protocol == "3.1.1" else "5")
        # A daemon: the end of the program waits for it as long as the user likes, and no longer.
        threading.Thread(
            target=self._run, args=(self._count, target, address), name=f"off-{target}", daemon=True
        ).start()

    def results(self, wait: float = 0.0) -> list[Result]:
        """The outcomes that came in since the last call.

        :param wait: s to wait for the first one
        """
        found: list[Result] = []
        try:
            while True:
                number, result = (
                    self._results.get(timeout=wait) if wait > 0 and not found else self._results.get_nowait()
                )
                self._pending.pop(number, None)
                found.append(result)
        except queue.Empty:
            return found

    def _run(self, number: int, target: Target, address: Address) -> None:
        try:
            result = _send(target, address)
        except Exception as error:  # noqa: BLE001  # the outermost place of this thread
            text = f"{name_of(target)}: an error inside psu-agent ({type(error).__name__}); it is not known if the off was sent"
            result = Result(target, (text,), is_done=False)
        self._results.put((number, result))


class _Sender(Client):
    """Knows if the off may have left this host."""

    has_tried = False

    def publish(self, *arguments: object, **options: object) -> float:
        """See `Client`."""
        self.has_tried = True
        return super().publish(*arguments, **options)  # type: ignore[arg-type]


def _send(target: Target, address: Address) -> Result:
    command = request.command(target, {"state": False}, command_id=uuid.uuid4().hex)
    sender = _Sender(address)
    try:
        with sender as client:
            outcome = request.send(client, target, command, expiry=PATIENCE, patience=PATIENCE)
    except NobodyAnsweredError as error:
        return Result(target, (f"{name_of(target)}: NOT turned off: {error}",), is_done=False)
    except BrokerError as error:
        sent = "it is not known if the off was sent" if sender.has_tried else "the off was NOT SENT"
        return Result(target, (f"{name_of(target)}: {sent}: {error}",), is_done=False)
    return _told(target, outcome)


def _told(target: Target, outcome: CommandOutcome) -> Result:
    lines: list[str] = []
    for response in outcome.responses:
        if not response.ok:
            lines += response_lines(response)
    lines += [f"{unit} did not answer within {PATIENCE:g} s: it may still be on" for unit in sorted(outcome.silent)]
    lines += [
        f"{unit} was not reached, its agent is offline: it may still be on" for unit in sorted(outcome.unattended)
    ]
    if not outcome.responses and not lines:
        lines.append(f"{name_of(target)}: nobody answered within {PATIENCE:g} s: it may still be on")
    done = [response for response in outcome.responses if response.ok]
    also = [f"{response.psu}/{index}" for response in done for index in response.also_off]
    if done:
        units = len({response.psu for response in done})
        text = (
            f"all off: confirmed by {counted(units, 'unit')}" if target.unit == "all" else f"{target} is off, confirmed"
        )
        went = f"; {', '.join(also)} went off too" if also else ""
        lines.append(text + went)
    return Result(target, tuple(lines), is_done=bool(done) and not (outcome.unattended or outcome.exit_code))


def name_of(target: Target) -> str:
    """The name of an off, for people: ``all off``, a unit or a channel."""
    return "all off" if target.unit == "all" else str(target)
