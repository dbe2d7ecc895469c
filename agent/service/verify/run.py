"""A verification from its first question to its last off."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.instruments.catalogue import Series
from agent.instruments.driver import DriverError, Identity, Profile, Reading
from agent.instruments.modbus.recording import RecordingRegisters
from agent.instruments.recording import RecordingLink
from agent.protocol.errors import Refusal
from agent.service.verify.bench import KEPT, Bench, EndedByUser
from agent.service.verify.findings import Check, Findings
from agent.service.verify.outputs import OutputChecks, SomethingConnectedError
from agent.service.verify.restoring import LINK_PATIENCE, Ending, Restoring

#: A question that no instrument knows.
UNKNOWN_QUESTION = "SYST:PSUAGENT?"
#: V at an output that is off, above which something is connected to it.
_FOREIGN_VOLTAGE = 0.5
_POLLS = 5


@dataclass(slots=True)
class Result:
    """The outcome: the checks, how the supply was left, and what ended it early, if anything did."""

    profile: Profile
    findings: Findings
    ending: Ending
    problem: str | None = None
    was_interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """3: an output is on, or nobody knows. 130: the user ended it. 1: a claim failed, or it ended early. 0: all is well."""
        if self.ending.output in ("on", "unknown"):
            return 3
        if self.was_interrupted:
            return 130
        return 1 if self.problem or self.findings.has_failed or self.ending.unrestored else 0


class Verification:
    """What a series file claims, tried on one supply.

    :param bench: connected by nobody yet
    :param link: the recording link below its driver; None where the driver has none
    :param series: None where the supply's language is no series file
    :param outputs: the outputs to try; all where none is given
    :param gap: the pause between messages that the series has on this link (s)
    :param poll_with: polls on a link of its own with another pause (s), and raises `DriverError` if that is not answered
    """

    def __init__(
        self,
        bench: Bench,
        link: RecordingLink | RecordingRegisters | None,
        series: Series | None,
        outputs: Sequence[int] = (),
        tell: Callable[[Check], None] = lambda check: None,
        gap: float = 0.0,
        poll_with: Callable[[float], None] | None = None,
    ) -> None:
        self._bench = bench
        self._link = link
        self._series = series
        self._outputs = tuple(outputs)
        self._gap = gap
        self._poll_with = poll_with
        self.findings = Findings([] if link is None else link.record, tell)

    def run(self, patience: float = LINK_PATIENCE) -> Result:
        """Try everything; whatever happens, the outputs are off at the end as far as the supply can be reached.

        :param patience: s for new links at the end
        :raises DriverError: it could not be reached in the beginning; nothing was set
        :raises EndedByUser: before anything was set
        """
        bench = self._bench
        profile = bench.connect()
        self._outputs = self._outputs or tuple(bench.channels)
        found = dict(bench.readings)
        problem: str | None = None
        is_broken = was_interrupted = False
        try:
            self._checks()
        except EndedByUser:
            problem, was_interrupted = "ended by the user", True
        except SomethingConnectedError as error:
            problem = str(error)
        except Refusal as refusal:
            problem = refusal.message
        except DriverError as error:
            problem, is_broken = str(error), True
        except BaseException:
            # A fault of this program must leave no output on, either.
            self._end(found, patience, is_link_broken=True)
            raise
        if not bench.wrote:
            bench.driver.close()
            return Result(profile, self.findings, Ending(sentences=["nothing was set"]), problem, was_interrupted)
        ending = self._end(found, patience, is_link_broken=is_broken)
        self._leave(ending)
        return Result(profile, self.findings, ending, problem, was_interrupted)

    def _end(self, found: dict[int, Reading], patience: float, *, is_link_broken: bool) -> Ending:
        self._bench.ignore_interruptions()
        return Restoring(self._bench, self._outputs, found, patience).run(is_link_broken=is_link_broken)

    def _checks(self) -> None:
        self._identification()
        self._batching()
        self._couplings()
        self._nothing_connected()
        for index in self._outputs:
            OutputChecks(self._bench, self.findings, index).run()
        self._others()
        self._errors()
        self._lost_link()
        self._timing()

    # One by one.

    def _identification(self) -> None:
        profile = self._bench.profile
        claim = f"a supply of the series {self._series.name}" if self._series else "a supply that tells its identity"
        with self.findings.checking("identification", claim) as check:
            identity = profile.identity
            if identity is None:
                check.failed("the supply tells no identity")
            else:
                check.first = 0
                check.ok(f"{identity.manufacturer} {identity.model}, firmware {identity.firmware}: {profile.model}")

    def _batching(self) -> None:
        claim = "a poll is answered"
        if self._series is not None:
            claim = {
                "yes": "several questions in one message are answered",
                "no": "each question is a message of its own",
                "probe": "whether several questions in one message are answered is found out",
            }[self._series.link.compound]
        with self.findings.checking("batching", claim) as check:
            self._bench.look()
            check.ok(f"{self._bench.profile.effort} a poll")

    def _couplings(self) -> None:
        with self.findings.checking(
            "couplings", "settings at the unit that change a command's effect are told"
        ) as check:
            inspection = self._bench.inspect(self._outputs)
            if inspection.silent:
                check.failed("; ".join(inspection.silent))
            elif inspection.bars:
                check.failed(f"nothing was set, as at the unit {'; '.join(inspection.bars)}")
            elif self._series is not None and not self._series.conditions:
                check.skipped("the series knows none")
            else:
                check.ok("told; none forbids a setting")
        if inspection.bars:
            raise Refusal("unsupported", f"at the unit {'; '.join(inspection.bars)}, then begin again")

    def _nothing_connected(self) -> None:
        with self.findings.checking("nothing connected", "outputs that are off have no voltage") as check:
            for index in self._outputs:
                reading = self._bench.readings[index]
                if reading.state is not False or reading.voltage is None:
                    continue
                if not self._bench.wait(lambda readings, i=index: abs(readings[i].voltage or 0.0) < _FOREIGN_VOLTAGE):  # type: ignore[misc]
                    volts = self._bench.readings[index].voltage
                    check.failed(f"output {index} is off and has {volts:g} V")
                    raise SomethingConnectedError(
                        f"output {index} is off and measures {volts:g} V, so something is connected to it; "
                        "take it off and begin again"
                    )
            check.ok("none was seen")

    def _others(self) -> None:
        with self.findings.checking("other outputs", "a setting of one output changes no other") as check:
            if len(self._bench.channels) < 2:
                check.skipped("the supply has one output")
            elif self._bench.disturbed:
                check.failed("; ".join(self._bench.disturbed[:5]))
            else:
                check.ok("none changed")

    def _errors(self) -> None:
        with self.findings.checking(
            "errors", "a message that the unit does not know is reported, and then no more"
        ) as check:
            if self._series is None or self._series.errors is None or not isinstance(self._link, RecordingLink):
                check.skipped("the series reports no errors")
                return
            if self._series.errors.acknowledges:
                check.skipped("reading errors acknowledges alarms here")
                return
            complaints, again = self._complaints()
            if not complaints:
                check.failed(f"{UNKNOWN_QUESTION} was sent, and no error was reported")
            elif again:
                check.failed(f"the errors do not end: {'; '.join(again)}")
            else:
                check.ok("; ".join(complaints))

    def _complaints(self) -> tuple[list[str], list[str]]:
        """The complaints about a message that the unit does not know, and those that there are behind them."""
        driver, link = self._bench.driver, self._link
        assert isinstance(link, RecordingLink)
        try:
            link.tell(UNKNOWN_QUESTION)
            return driver.complaints(), driver.complaints()
        except DriverError:
            # Some units answer it with a text as well: all is out of step until the link is opened anew.
            link.close()
            link.open()
            found = driver.complaints(), driver.complaints()
            self._bench.connect()
            return found

    def _lost_link(self) -> None:
        with self.findings.checking("lost link", "after a link that broke, the same unit answers, as it was") as check:
            before, identity = self._bench.readings, self._bench.profile.identity
            if self._link is None:
                self._bench.driver.close()
            else:
                self._link.close()  # without a word to the unit, as a cable that is pulled
            self._bench.connect()
            changes = [
                f"output {index}"
                for index, reading in self._bench.readings.items()
                if _settings(reading) != _settings(before[index])
            ]
            if self._bench.profile.identity != identity:
                check.failed("another identity was told")
            elif changes:
                check.failed(f"the settings of {', '.join(changes)} changed")
            else:
                check.ok("the same identity and settings")

    def _timing(self) -> None:
        claim = (
            f"a pause of {self._gap:g} s between messages is enough"
            if self._gap
            else "messages need no pause between them"
        )
        with self.findings.checking("timing", claim) as check:
            first = len(self.findings.record)
            for _ in range(_POLLS):
                self._bench.look()
            told = [one.seconds * 1000 for one in self.findings.record[first:] if one.answers]
            if not told:
                check.skipped("the driver has no messages to measure")
                return
            median = statistics.median(told)
            text = f"{median:.1f} ms a message (longest {max(told):.1f} ms), {sum(told) / _POLLS:.1f} ms a poll, pauses included"
            values = {
                "message_ms": round(median, 2),
                "longest_ms": round(max(told), 2),
                "poll_ms": round(sum(told) / _POLLS, 2),
            }
            gap = self._least_gap()
            if gap is not None:
                text += f"; questions are answered with a pause of {gap:g} s, too"
                values["least_gap"] = gap
            check.ok(text, **values)

    def _least_gap(self) -> float | None:
        """The shortest pause with which questions are answered still (s); None where there is none to shorten."""
        if self._poll_with is None or not self._gap:
            return None
        least = self._gap
        self._bench.driver.close()
        for shorter in (self._gap / 2, self._gap / 4, 0.0):
            try:
                self._poll_with(shorter)
            except DriverError:
                break
            least = shorter
        self._bench.connect()
        return round(least, 4)

    def _leave(self, ending: Ending) -> None:
        """Close, which gives the front panel back; a check of that, where the series has messages for it."""
        series, record = self._series, self.findings.record
        first = len(record)
        self._bench.driver.close()
        if series is None or ending.output == "unknown":
            return
        serial = series.link.serial
        leave = {*series.link.leave, *((serial.leave or ()) if serial else ())}
        enter = {*series.link.enter, *((serial.enter or ()) if serial else ())}
        with self.findings.checking("remote and panel lock", "remote mode is entered, and left at the end") as check:
            check.first = first
            if not leave and not enter:
                check.skipped("the series has no messages for it")
            elif leave and not any(one.sent in leave for one in record[first:]):
                check.skipped("no message for it on this kind of link")
            else:
                check.ok("sent; look at the front panel: its keys should work")


def _settings(reading: Reading) -> tuple[object, ...]:
    return tuple(getattr(reading, name) for name in ("state", *KEPT))


def shown_identity(identity: Identity | None) -> str:
    """An identity without its serial number, for people."""
    return "unknown" if identity is None else f"{identity.manufacturer} {identity.model}, firmware {identity.firmware}"
