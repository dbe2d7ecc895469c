"""Two agents on one supply, commands all the time, random faults of links, agents and broker, and rules that are watched."""

from __future__ import annotations

import functools
import heapq
import itertools
import json
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet.lab import BENCHES, OTHER_SUPPLY_ADDRESS, FleetLab, Sent, Site, entry
from tests.support.waiting import WaitedInVainError, wait_until

#: s that a takeover waits, as `inside` shortens it, and the part of it in which the agent before sends no settings any more.
TAKEOVER_AFTER, MARGIN = 5.0, 2.0
#: s. Between the decision to send and the supply's note of it.
_LATENCY = 0.7
#: s between two of them, on average.
_SETTING, _RAMP, _OFF, _FAULT = 0.15, 8.0, 3.0, 6.0
#: s that a fault lasts: as short as a hiccup, or longer than a takeover takes.
_SHORTEST, _LONGEST = 0.3, 5 * TAKEOVER_AFTER
#: s that everything may take to come to rest after the last fault, and an off where an agent reaches broker and supply.
_REST, _OFF_TIME = 90.0, 15.0
_End = Callable[[], object]
_NAMES = {address: bench for bench, address in BENCHES.items()}


@dataclass
class _Asked:
    """A command, and the responses to it."""

    moment: float
    name: str
    is_off: bool
    sure_of: str | None  # an agent that reached broker and supply when it was sent


class Run:
    """One run: ``violations`` is empty if every rule held."""

    def __init__(self, site: Site, folder: Path, seed: int) -> None:
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._begun = time.monotonic()
        self._random = random.Random(seed)
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.fleet = fleet = FleetLab(site, folder, persistent=True)
        self._supply = fleet.supply()
        # By the same name, or by another one and another address: then the serial number alone tells.
        self._has_two_names = self._random.random() < 0.5
        self._names = ["psu1", "spare"] if self._has_two_names else ["psu1"]
        more: dict[str, Any] = {"name": "spare", "address": OTHER_SUPPLY_ADDRESS} if self._has_two_names else {}
        self.agents = {
            "bench1": fleet.agent("bench1", [entry(self._supply)], takeover_after=15),
            "bench2": fleet.agent("bench2", [entry(self._supply, **more)], takeover_after=15),
        }
        self._asked: dict[bytes, _Asked] = {}
        self._oks: dict[bytes, list[Any]] = defaultdict(list)
        self._read = 0  # messages of the supply, and of the observer
        self._heard = 0
        self._last: Sent | None = None
        self._broken: set[str] = set()  # what has a fault now: links, agents, the broker
        self._well_since = dict.fromkeys(self.agents, time.monotonic())

    def complain(self, what: str) -> None:
        self.violations.append(what)
        self._tell(f"VIOLATION: {what}")

    def run(self, seconds: float) -> None:
        """Commands and faults for so long; then all faults end, and everything has to come to rest."""
        for agent in self.agents.values():
            agent.start()
        until = time.monotonic() + seconds
        for action in (self._setting, self._ramp, self._off, self._fault, self._look):
            self._in(0.0, action)
        while time.monotonic() < until and not self.violations:
            due, _, action = heapq.heappop(self._actions)
            time.sleep(max(0.0, due - time.monotonic()))
            action()
        for _, _, action in sorted(self._actions, key=lambda one: one[:2]):
            if isinstance(action, functools.partial):  # the end of a fault
                action()
        if not self.violations:
            self._rest()

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._actions, (time.monotonic() + seconds, next(self._order), action))

    def _again(self, interval: float, action: Callable[[], None]) -> None:
        self._in(self._random.expovariate(1 / interval), action)

    def _tell(self, what: str) -> None:
        print(f"{time.monotonic() - self._begun:7.1f} s: {what}", file=sys.stderr, flush=True)

    # --- commands

    def _setting(self) -> None:
        self._again(_SETTING, self._setting)
        self._send({"voltage_limit": round(self._random.uniform(0.5, 5.5), 2)})

    def _ramp(self) -> None:
        self._again(_RAMP, self._ramp)
        self._send({"voltage_limit": self._random.choice([0.1, 5.9]), "ramp": 0.1}, channel=2)
        self._send({"state": True}, channel=3)

    def _off(self) -> None:
        self._again(_OFF, self._off)
        self._send({"state": False}, channel=3)

    def _send(self, command: dict[str, Any], channel: int = 1) -> None:
        name = self._random.choice(self._names)
        now = time.monotonic()
        well = [bench for bench in self.agents if self._is_well(bench, now) and self._listens(bench, name)]
        correlation = f"{next(self._order)}".encode()
        asked = _Asked(now, name, command.get("state") is False, well[0] if well else None)
        self._asked[correlation] = asked
        self.counts["offs" if asked.is_off else "settings"] += 1
        payload = json.dumps(command).encode()
        self.fleet.observer.post(f"psu/{name}/{channel}/set", payload, correlation=correlation)

    def _listens(self, bench: str, name: str) -> bool:
        return not self._has_two_names or (bench == "bench2") == (name == "spare")

    def _is_well(self, bench: str, now: float) -> bool:
        """It has reached the broker and its supply for some time, as far as the faults of this run tell."""
        return not self._faults_of(bench) and now - self._well_since[bench] > _OFF_TIME

    def _faults_of(self, bench: str) -> list[str]:
        return [fault for fault in self._broken if fault.startswith((bench, "broker"))]

    # --- faults

    def _fault(self) -> None:
        self._again(_FAULT, self._fault)
        lasts = self._random.choice([_SHORTEST, _LONGEST]) * self._random.uniform(0.5, 1.0)
        bench = self._random.choice(list(self.agents))
        kinds: list[tuple[str, Callable[[str], _End | None]]] = [
            (f"{bench} to broker", self._cut),
            (f"{bench} to supply", self._cut),
            (f"{bench} process", self._hurt),
            ("broker", self._hurt_broker),
        ]
        (what, begin) = self._random.choices(kinds, weights=[6, 4, 3, 1])[0]
        if what in self._broken or (what == "broker" and self._broken):
            return
        end = begin(what)
        if end is not None:
            self._broken.add(what)
            self._in(lasts, functools.partial(self._heal, what, end))

    def _heal(self, what: str, end: _End) -> None:
        end()
        self._broken.discard(what)
        self._tell(f"{what}: well again")
        for bench in self.agents:
            if what.startswith((bench, "broker")):
                self._well_since[bench] = time.monotonic()

    def _note(self, what: str, fault: str) -> None:
        self.counts[fault] += 1
        self._tell(f"{what}: {fault}")

    def _cut(self, what: str) -> _End | None:
        bench, _, other = what.split()
        link = self.fleet.link(bench, other)
        direction = self._random.choice(["both", "both", "out", "in", "reset"])
        self._note(what, f"cut ({direction})" if direction != "reset" else "reset")
        if direction == "reset":
            link.reset()
            self._well_since[bench] = time.monotonic()
            return None
        link.cut(direction)  # type: ignore[arg-type]
        return link.heal

    def _hurt(self, what: str) -> _End:
        agent = self.agents[what.split()[0]]
        fault = self._random.choice(["killed", "stopped", "suspended"])
        self._note(what, fault)
        if fault == "suspended":
            agent.suspend()
            return lambda: agent.signal(signal.SIGCONT)
        if fault == "killed":
            agent.kill()
        else:
            agent.stop()
        return agent.start

    def _hurt_broker(self, what: str) -> _End:
        broker = self.fleet.broker
        if self._random.random() < 0.4:
            self._note(what, "suspended")
            broker.suspend()
            return lambda: broker.signal(signal.SIGCONT)
        broker.stop()
        loses = self._random.random() < 0.3
        self._note(what, "away and without memory" if loses else "away")
        if loses:
            for file in self.fleet.folder.glob("mosquitto.db*"):
                file.unlink()
        return broker.start

    # --- rules

    def _look(self) -> None:
        self._in(0.2, self._look)
        self._judge_settings()
        self._judge_responses()
        self._judge_agents()

    def _judge_settings(self) -> None:
        """At no moment do both send settings: between those of one and those of the other lies the margin."""
        log = self._supply.log()
        for sent in log[self._read :]:
            if not sent.settings or sent.is_off:
                continue
            last, self._last = self._last, sent
            if last is None or last.peer == sent.peer:
                continue
            self.counts["takeovers"] += 1
            gap = sent.moment - last.moment
            self._tell(f"{_NAMES[sent.peer]} sends settings, {gap:.1f} s after {_NAMES[last.peer]}")
            if gap < MARGIN - _LATENCY:
                self.complain(
                    f"{_NAMES[sent.peer]} sent {sent.text!r} {gap:.2f} s after {_NAMES[last.peer]} sent {last.text!r}"
                )
        self._read = len(log)

    def _judge_responses(self) -> None:
        """No setting is carried out by both; an off is done where an agent reaches both the broker and the supply."""
        observer = self.fleet.observer
        received = observer.received
        while self._heard < len(received):
            message = received[self._heard]
            self._heard += 1
            if message.topic == observer.answers and message.correlation in self._asked:
                response = message.json
                if response["ok"]:
                    self._oks[message.correlation].append(response)
                self.counts["ok" if response["ok"] else response["error"]["code"]] += 1
        now = time.monotonic()
        for correlation, asked in list(self._asked.items()):
            oks = self._oks.get(correlation, [])
            if not asked.is_off and len(oks) > 1:
                self.complain(f"a setting of {asked.name} was carried out twice")
            if now - asked.moment < 2 * _OFF_TIME:
                continue
            del self._asked[correlation]
            self._oks.pop(correlation, None)
            by = asked.sure_of
            # It counts where no fault has come in between.
            is_due = by is not None and self._well_since[by] < asked.moment and not self._faults_of(by)
            if asked.is_off and not oks and is_due:
                self.complain(f"an off of {asked.name} was not done, which {by} could do")

    def _judge_agents(self) -> None:
        for name, agent in self.agents.items():
            if agent.ended() is not None:
                self.complain(f"{name} ended by itself with status {agent.ended()}: {agent.text()[-300:]}")
                return
            if "Traceback" in agent.text():
                self.complain(f"{name} has an error in its log")

    def _rest(self) -> None:
        """One of them serves the supply, and the other one says so."""
        names = {"bench1": "psu1", "bench2": self._names[-1]}

        def serving() -> list[str]:
            infos = {bench: self.fleet.info(bench, name) or {} for bench, name in names.items()}
            return [bench for bench, info in infos.items() if info.get("serves") and info.get("online")]

        try:
            wait_until(lambda: len(serving()) == 1, "one that serves", _REST)
            name = names[serving()[0]]
            wait_until(lambda: "ok" in self._codes(name), "a setting to be carried out", _REST)
        except WaitedInVainError as error:
            self.complain(str(error))
        self._judge_settings()
        self._judge_agents()

    def _codes(self, name: str) -> list[str]:
        return self.fleet.codes(f"psu/{name}/1/set", {"voltage_limit": 1}, 1 if self._has_two_names else 2)

    def close(self) -> None:
        self.fleet.close()
