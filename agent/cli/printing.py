"""The output of the commands, on stdout unless said otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from agent.cli import terminal
from agent.cli.program.errors import Error, document
from agent.cli.terminal import clean
from agent.client.fleet import Fleet
from agent.protocol.messages import ChannelState, Response
from agent.protocol.words import counted

if TYPE_CHECKING:
    from agent.cli.check import Finding
    from agent.client.request import CommandOutcome, Target
    from agent.config import ChannelSettings, Config
    from agent.instruments.scan import Scan


def print_configuration(config: Config) -> None:
    """A summary of a configuration without fault, a line for each unit and each configured channel."""
    from agent.config.sentences import limits

    settings = config.settings
    mqtt = settings.mqtt
    version = "5, or 3.1.1 if it refuses 5" if mqtt.protocol == "auto" else mqtt.protocol
    tls = ", TLS" if mqtt.tls is not None else ""
    user = f", user {mqtt.username}" if mqtt.username else ""
    if not config.series_faults:
        print(f"{config.path}: no fault")
    print(
        f"agent {settings.agent}, state in {settings.state_dir}, backlog of {counted(config.backlog_capacity(), 'sample')}"
    )
    print(f"broker {mqtt.host}:{mqtt.port}, MQTT {version}{tls}{user}, topics under {mqtt.base_topic}/")
    for unit in config.units:
        interval = config.poll_interval(unit)
        rate = "as fast as it answers" if not interval else f"every {interval:g} s"
        print(f"unit {unit.name}: {unit.model} at {unit.place}, {rate}")
        for index, channel in sorted(unit.channels.items()):
            name = f" ({channel.name})" if channel.name else ""
            print(f"  channel {index}{name}: {_limits(channel)}")
        if (others := limits.unlisted(unit)) is not None:
            its = "its rating" if others.startswith(("channel ", "every")) else "their ratings"
            print(f"  {others}: no limit but {its}")


def _limits(channel: ChannelSettings) -> str:
    from agent.config.sentences import limits

    told = []
    if channel.voltage_max is not None:
        told.append(f"up to {channel.voltage_max:g} V")
    if channel.current_max is not None:
        told.append(f"up to {channel.current_max:g} A")
    if not told:
        told.append("no limit but its rating")
    elif (missing := limits.missing_limits(channel)) is not None:
        told.append(f"no {missing} but its rating")
    if channel.on_broker_loss == "off":
        told.append(f"off when the broker is gone for {channel.broker_loss_after:g} s")
    return ", ".join(told)


def print_finding(found: Finding) -> None:
    """One line of `check --connect`, and one for each remark."""
    took = "" if found.milliseconds is None else f" ({found.milliseconds:g} ms)"
    text = Text()
    text.append("ok    " if found.ok else "FAULT ", style="green" if found.ok else "bold red")
    # The sentence on a link that can't be opened names the address, too.
    said = found.text.removeprefix(f"can't open {found.address}: ")
    text.append(clean(f"{found.place} at {found.address}: {said}{took}"))
    terminal.console().print(text, soft_wrap=True)
    for remark in found.remarks:
        print(f"      - {clean(remark)}")


#: Of an instrument that did not answer: it may have been tried by twenty.
_MOST_NAMES = 3


def print_scan(result: Scan) -> None:
    """The instruments that were found as comments, and `units:` entries for them: the whole is YAML, on stdout.

    The places that were searched, and those that could not be, are told on stderr.
    """
    from agent.config.source import as_yaml
    from agent.instruments.scan import unit_entries

    for place in result.searched:
        print(f"searched: {clean(place)}", file=sys.stderr)
    for remark in result.remarks:
        print(clean(remark), file=sys.stderr)
    for item in result.found:
        who = item.identification
        if who is None or item.uri is None:
            announced = f" (announced as {clean(item.announced)})" if item.announced else ""
            names = ", ".join(clean(name) for name in item.names[:_MOST_NAMES])
            names += f" and {len(item.names) - _MOST_NAMES} names more" if len(item.names) > _MOST_NAMES else ""
            print(f"# {names}{announced}: {clean(item.problem or 'no answer')}")
            continue
        idn = f"{who.manufacturer},{who.model},{who.serial},{who.firmware}"
        unknown = "" if item.model is not None else "; not a model that psu-agent supports"
        where = "" if item.address is None else f", address {item.address}"
        where += "" if item.baud is None else f", {item.baud} baud"
        print(f"# {clean(item.uri)}{where}: {clean(idn)}{unknown}")
    entries = unit_entries(result.found)
    if entries:
        sys.stdout.write(as_yaml({"units": entries}))
        return
    if result.has_found:
        fault = "none answered"
        if any(item.identification is not None for item in result.found):
            fault = "none that answered is supported (`psu-agent models` lists those that are)"
        told = f"psu-agent: {fault}: no entry for `units:` was written, so this is no configuration yet"
        print(told, file=sys.stderr)
        return
    print("# no instrument was found: this is no configuration yet")
    print(
        "psu-agent: no instrument was found. Is it switched on, in one of these networks, and is its LAN interface enabled "
        "(LXI, mDNS, VXI-11)? One whose address you know needs no scan: write the address into the configuration as `uri:`, "
        "and try it by `psu-agent check --connect`",
        file=sys.stderr,
    )


def print_states(fleet: Fleet, channels: Sequence[ChannelState], *, as_json: bool, single: bool) -> None:
    """The answer of `get`: a table on a terminal, else JSON.

    :param single: one channel was asked for, so that JSON is one object
    """
    if as_json or not sys.stdout.isatty():
        found: list[Any] = [
            terminal.with_lease(state, fleet.lease_of(state.psu, state.index)) | terminal.conflict_of(fleet, state.psu)
            for state in channels
        ]
        print(json.dumps(found[0] if single and len(found) == 1 else found, indent=2))
        return
    console = terminal.console()
    console.print(terminal.channel_table(channels, several_agents=len({state.agent for state in channels}) > 1))
    for note in terminal.notes(fleet, dict.fromkeys(state.psu for state in channels)):
        console.print(note)
    for note in terminal.lease_notes(fleet, channels):
        console.print(note)


def print_outcome(target: Target, result: CommandOutcome, patience: float, *, as_json: bool, instead: str = "") -> None:
    """The outcome of a command. Refusals go to stderr, as does the news that a unit did not answer.

    :param patience: how long it was waited for, in s
    :param instead: a sentence on what there is, for a target that did not answer
    """
    for response in result.responses:
        if as_json:
            print(_json_of(response))
        else:
            for line in terminal.response_lines(response, None if target.unit == "all" else str(target)):
                print(line, file=sys.stdout if response.ok else sys.stderr)
    missing: list[tuple[str | None, str]] = [
        *(
            (unit, f"{clean(unit)} did not answer within {patience:g} s: it may still be on")
            for unit in sorted(result.silent)
        ),
        *(
            (unit, f"{clean(unit)} was not reached, its agent is offline: it may still be on")
            for unit in sorted(result.unattended)
        ),
    ]
    if not result.responses and not result.silent:
        text = (
            f"nobody answered for {target} within {patience:g} s; is the name right, and is its agent running? "
            f"The command's outcome is not known. {clean(instead)}".rstrip()
        )
        missing.append((None, text))
    for unit, text in missing:
        print(f"psu-agent: {text}", file=sys.stderr)
        if as_json:
            print(document([Error(text, unit=unit)]))


def _json_of(response: Response) -> str:
    """A response as it came, with ``errors`` as all failures have them."""
    if response.error is None:
        return terminal.json_text(response)
    error = Error(response.error.message, unit=response.psu, code=response.error.code)
    return terminal.json_text(json.loads(response.to_json()) | {"errors": [error.as_dict()]})
