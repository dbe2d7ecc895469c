"""Measures what a broker can do of all that an agent uses. It publishes below one topic of its own, and removes all of it."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence

from agent.client.broker.findings import BrokerFindings
from agent.client.broker.probe import NotConnectedError, Probe
from agent.config import Mqtt
from agent.mqtt.broker.attempts import Attempts, Outcome, Version
from agent.mqtt.broker.filters import MOST_FILTERS, packets
from agent.mqtt.tls import TlsError

#: s for each of the broker's answers, and for all of it.
PATIENCE, LONGEST = 3.0, 40.0
#: s after which a retained message is to be gone, 0 for not to try it; and s later when it is looked for: brokers round to whole
#: seconds, and some look once a second.
EXPIRY, GRACE = 1, 1.5
#: bytes. Messages that are tried, from the largest.
SIZES = tuple(2**power * 1024 for power in range(2, 9))
#: Filters in one SUBSCRIBE that are tried.
FILTER_COUNTS = (MOST_FILTERS, 9, 16, 32, 64, 100)


def measure(
    settings: Mqtt, agent: str = "check", *, filters: Sequence[str] = (), longest: float = LONGEST
) -> BrokerFindings:
    """The abilities of the broker of these settings, as their user sees them. It takes some seconds, ``longest`` s at most.

    :param agent: the agent's name, whose topic ``{base}/agents/{agent}/check/…`` is used
    :param filters: the topics that the agent is to listen to
    """
    return _Measurement(settings, agent, filters, longest).run()


def scratch(settings: Mqtt, agent: str) -> str:
    """The topic that is measured below."""
    return f"{settings.base_topic}/agents/{agent}/check"


class _Measurement:
    def __init__(self, settings: Mqtt, agent: str, filters: Sequence[str], longest: float) -> None:
        self._settings = settings
        self._filters = filters
        self._began = time.monotonic()
        self._end = self._began + longest
        self._topic = f"{scratch(settings, agent)}/{secrets.token_hex(4)}"
        self._version: Version = "5"
        self._left: set[str] = set()  # topics that may be retained
        self.found = BrokerFindings()

    def run(self) -> BrokerFindings:
        found = self.found
        try:
            main = self._connect()
            with contextlib.closing(main):
                found.version = self._version
                self._measure(main)
                self._clear(main)
        except NotConnectedError as error:
            found.problem = found.problem or str(error)
        except TlsError as error:
            found.problem = str(error)
        found.seconds = round(time.monotonic() - self._began, 1)
        found.is_incomplete = found.problem is None and time.monotonic() >= self._end
        return found

    def _patience(self) -> float:
        return max(0.0, min(PATIENCE, self._end - time.monotonic()))

    def _probe(self, version: Version | None = None, *, will: str | None = None, retains_will: bool = False) -> Probe:
        return Probe(
            self._settings, version or self._version, patience=self._patience, will=will, retains_will=retains_will
        )

    def _connect(self) -> Probe:
        """The connection that is measured on, in the version that the agent would take; and if the broker takes the other one."""
        attempts = Attempts(self._settings.protocol)
        taken: dict[Version, bool] = {}
        while True:
            self._version = attempts.protocol
            probe = self._probe()
            try:
                probe.__enter__()
            except NotConnectedError as error:
                if error.outcome in (Outcome.REFUSED_VERSION, Outcome.CLOSED):
                    taken[attempts.protocol] = False
                if attempts.failed(error.outcome):
                    raise
                continue
            taken[attempts.protocol] = True
            if not attempts.is_trial:
                break
            probe.close()
            attempts.failed(Outcome.TRIED)
        other: Version = "3.1.1" if self._version == "5" else "5"
        if other not in taken:
            try:
                with self._probe(other):
                    taken[other] = True
            except NotConnectedError as error:
                if error.outcome in (Outcome.REFUSED_VERSION, Outcome.CLOSED):
                    taken[other] = False
        self.found.mqtt_5, self.found.mqtt_3_1_1 = taken.get("5"), taken.get("3.1.1")
        return probe

    def _measure(self, main: Probe) -> None:
        found, is_v5 = self.found, self._version == "5"
        self._refused(main)
        found.told_largest_packet = main.abilities.largest_packet
        found.receive_maximum = main.abilities.receive_maximum if is_v5 else None
        codes = main.subscribe([f"{self._topic}/#"], as_published=True)
        found.may_read = codes is not None and codes[0] < 0x80
        began = time.monotonic()
        code = main.publish(f"{self._topic}/plain", b"plain")
        if code is not None:
            found.acknowledged_ms = round((time.monotonic() - began) * 1000, 1)
        heard = main.hears(f"{self._topic}/plain") if code is not None and found.may_read else None
        found.may_publish = heard is not None if found.may_read else (None if code is None else code < 0x80)
        if not main.abilities.takes_qos_1:
            found.qos_1 = False
        if heard is None:
            return
        found.qos_1 = code is not None and heard.qos == 1
        expires_at = 0.0
        if is_v5:
            self._properties(main)
        found.retained = self._retained(main)
        if is_v5 and found.retained and EXPIRY:
            self._publish_retained(main, "expiring", expiry=EXPIRY)
            expires_at = time.monotonic() + EXPIRY
        found.will = self._will(main)
        self._sizes()
        self._counts()
        if expires_at:
            main.wait(lambda: time.monotonic() > expires_at + GRACE, EXPIRY + 2 * GRACE)
            found.expiry_obeyed = self._replayed("expiring", lambda probe: probe.wait(lambda: False, 0.5)) is None

    def _refused(self, main: Probe) -> None:
        refused: list[str] = []
        for some in packets(self._filters):
            codes = main.subscribe(some) or []
            refused += [name for name, code in zip(some, codes, strict=False) if code >= 0x80]
        self.found.refused_filters = tuple(refused)

    def _properties(self, main: Probe) -> None:
        topic = f"{self._topic}/request"
        main.publish(topic, b"request", expiry=60, response_topic=f"{self._topic}/answer", correlation=b"\x00check")
        heard = main.hears(topic)
        if heard is not None:
            self.found.response_topic = (heard.response_topic, heard.correlation) == (
                f"{self._topic}/answer",
                b"\x00check",
            )
            self.found.expiry_passed_on = heard.expiry is not None and heard.expiry <= 60

    def _publish_retained(self, main: Probe, leaf: str, *, expiry: int | None = None) -> int | None:
        topic = f"{self._topic}/{leaf}"
        self._left.add(topic)
        return main.publish(topic, leaf.encode(), retain=True, expiry=expiry)

    def _retained(self, main: Probe) -> bool | None:
        if not main.abilities.retains:
            return False
        try:
            with self._probe() as probe:  # some brokers close the connection for it
                code = self._publish_retained(probe, "retained", expiry=600)
        except NotConnectedError:
            return None
        if code is None or code >= 0x80:
            return False
        live = main.hears(f"{self._topic}/retained")
        if live is not None and self._version == "5":
            self.found.retain_as_published = live.retain
        # A cluster may take a moment until all of it knows the message.
        return self._replayed("retained", lambda probe: probe.hears(f"{self._topic}/retained")) is not None

    def _replayed(self, leaf: str, wait: Callable[[Probe], object]) -> bool | None:
        """True if a new client gets a message, with the retain flag; None if it does not."""
        topic = f"{self._topic}/{leaf}"
        try:
            with self._probe() as late:
                late.subscribe([topic])
                wait(late)
                return any(one.topic == topic and one.retain for one in late.heard) or None
        except NotConnectedError:
            return None

    def _will(self, main: Probe) -> bool | None:
        topic = f"{self._topic}/will"
        retains = bool(self.found.retained)
        self._left.add(topic)
        try:
            with self._probe(will=topic, retains_will=retains) as victim:
                victim.wait(lambda: False, 0.05)
                victim.cut()
        except NotConnectedError:
            return None
        return main.hears(topic) is not None

    def _sizes(self) -> None:
        """The largest message that is passed on, by bisection: each is tried on a connection of its own."""
        passed, failed = -1, len(SIZES)
        middle = failed - 1  # the largest first: mostly it passes
        while failed - passed > 1:
            how = self._passes(SIZES[middle])
            if self._patience() == 0:
                return
            if how is None:
                passed = middle
            else:
                failed, self.found.failed_how = middle, how
            middle = (passed + failed) // 2
        self.found.largest_passed = SIZES[passed] if passed >= 0 else 0
        self.found.smallest_failed = SIZES[failed] if failed < len(SIZES) else None

    def _passes(self, size: int) -> str | None:
        """None if a message of this size (bytes, with its topic) comes back; otherwise what became of it."""
        topic = f"{self._topic}/size/{size}"
        payload = b"x" * (size - len(topic))
        try:
            with self._probe() as probe:
                if probe.abilities.largest_packet is not None and size + 16 > probe.abilities.largest_packet:
                    return "refused"
                probe.subscribe([topic])
                code = probe.publish(topic, payload)
                if code is not None and code >= 0x80:
                    return "refused"
                if code is not None and probe.hears(topic, payload) is not None:
                    return None
                return "dropped" if probe.is_open else "closed"
        except NotConnectedError:
            return "closed"

    def _counts(self) -> None:
        """The most filters in one SUBSCRIBE, by bisection."""
        passed, failed = -1, len(FILTER_COUNTS)
        middle = failed - 1
        while failed - passed > 1:
            count = FILTER_COUNTS[middle]
            try:
                with self._probe() as probe:
                    codes = probe.subscribe([f"{self._topic}/filter/{number}" for number in range(count)])
            except NotConnectedError:
                codes = None
            if self._patience() == 0:
                return
            if codes is not None and len(codes) == count and all(code < 0x80 for code in codes):
                passed = middle
            else:
                failed = middle
            middle = (passed + failed) // 2
        self.found.filters_taken = FILTER_COUNTS[passed] if passed >= 0 else 0
        self.found.filters_failed = FILTER_COUNTS[failed] if failed < len(FILTER_COUNTS) else None

    def _clear(self, main: Probe) -> None:
        """Remove what may be retained, also when the time is over."""
        for topic in self._left:
            main.publish(topic, b"", retain=True)
