"""The shipped rules, evaluated every ten seconds as Grafana does it, while something happens to a lab."""

from __future__ import annotations

import threading
import time
from typing import Self

from tests.stack.grafana import RULES
from tests.stack.services import Store
from tests.support.waiting import wait_until

from .evaluator import Evaluator, QueryFailedError

#: s between two evaluations: the group's.
INTERVAL = 10.0


class Watch:
    """Evaluates all rules in a thread, and knows when each instance began to fire, and when it ended."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._evaluators = {rule["title"]: Evaluator(rule) for rule in RULES}
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        #: What fired, what ended, and when (s).
        self.history: list[tuple[float, str, str, bool]] = []
        self.evaluations = 0
        self._firing: set[tuple[str, str]] = set()
        self._fault: BaseException | None = None

    def _ask(self, query: str) -> list[dict[str, object]]:
        try:
            return self._store.query(query)
        except OSError as error:
            raise QueryFailedError(str(error)) from None

    def _run(self) -> None:
        try:
            while not self._ended.wait(max(0.0, self._begun + self.evaluations * INTERVAL - time.monotonic())):
                now = time.monotonic()
                for evaluator in self._evaluators.values():
                    evaluator.evaluate(self._ask, now)
                firing = {(title, name) for title, one in self._evaluators.items() for name in one.firing()}
                for title, name in sorted(firing ^ self._firing):
                    self.history.append((round(now - self._begun, 1), title, name, (title, name) in firing))
                self._firing = firing
                self.evaluations += 1
        except BaseException as fault:
            self._fault = fault
            raise

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def firing(self) -> set[tuple[str, str]]:
        """The title and the instance (its agent, psu and channel) of each alert that fires."""
        assert self._fault is None, self._fault
        return set(self._firing)

    def ever(self) -> set[tuple[str, str]]:
        """Those that have fired since the start."""
        return {(title, name) for _, title, name, _ in self.history}

    def failures(self, title: str) -> int:
        """How many queries of this rule have failed."""
        return len(self._evaluators[title].failures)

    def wait_firing(self, title: str, name: str, timeout: float) -> None:
        """Until this alert fires (s)."""
        wait_until(lambda: (title, name) in self.firing(), f"{title} of {name}; {self.history}", timeout)

    def wait_ended(self, title: str, name: str, timeout: float) -> None:
        """Until this alert has fired and fires no more (s)."""
        assert (title, name) in self.ever()
        wait_until(lambda: (title, name) not in self.firing(), f"an end of {title} of {name}; {self.history}", timeout)

    def wait_evaluations(self, count: int) -> None:
        """Until there were so many more evaluations."""
        until = self.evaluations + count
        wait_until(lambda: self.evaluations >= until or self._fault, "evaluations", count * INTERVAL + 30)
