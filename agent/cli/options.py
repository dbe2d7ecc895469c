"""Arguments and options that several commands share, what they stand for, and the ways in which a command fails."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from agent.cli.completing import values
from agent.cli.program.errors import Error
from agent.protocol.numbers import instead

if TYPE_CHECKING:
    from agent.client.address import Address
    from agent.client.request import Target
    from agent.config import Config, ConfigError

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """Ends a command with one sentence on stderr and exit code 2."""

    exit_code = 2

    def as_errors(self) -> list[Error]:
        """The errors, for ``--json``."""
        return [Error(self.message)]

    def show(self, file: Any = None) -> None:
        """Print the sentence."""
        del file
        click.echo(f"psu-agent: {self.message}", err=True)


class Faults(Failure):
    """Ends a command with every fault of a configuration on a line of its own, and exit code 2."""

    def __init__(self, error: ConfigError) -> None:
        super().__init__(str(error))
        self._faults = error.faults

    def as_errors(self) -> list[Error]:
        """An error for each fault."""
        return [Error(fault.message, fault.file, fault.line or None, fault.key or None) for fault in self._faults]

    def show(self, file: Any = None) -> None:
        """Print the faults."""
        del file
        click.echo(self.message, err=True)


class NotFound(Failure):
    """The same with exit code 1."""

    exit_code = 1


class Number(click.FloatRange):
    """A number, as `click.FloatRange`; of one that was written with a decimal comma or a unit the fault says how to write it."""

    name = "number"

    def _describe_range(self) -> str:
        """For the help: nothing for a number that may have any value, which click 8 tells as `x<=None`."""
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number as a float."""
        try:
            is_number = math.isfinite(float(value))
        except ValueError:
            is_number = False
        if not is_number:
            self.fail(f"{value!r} is not a number; {instead(str(value)) or 'give a number'}.", param, ctx)
        return super().convert(value, param, ctx)


def output_fault() -> OSError | None:
    """Write what is buffered for stdout. The error if it can't be written: its reader has gone, its disk is full."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def discard_output() -> None:
    """Have all of stdout go nowhere from now on, what is buffered included."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """For output that only tells of what was done: where it can't be written, the command goes on, and ends as if it was."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        if error.errno != errno.EPIPE:
            click.echo(f"psu-agent: the output can't be written: {error.strerror}", err=True)


def config_argument(function: F) -> F:
    """The configuration file, as ``config``."""
    return click.argument("config", required=False, type=click.Path(path_type=Path))(function)


def target_argument(function: F) -> F:
    """A unit or a channel, as ``target``; None for the whole fleet."""
    return click.argument("target", required=False, metavar="[UNIT[/CH]]", shell_complete=values.targets)(function)


def json_option(function: F) -> F:
    """The flag ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


#: The value of `lease_option` without a name.
#: No argument of a program can hold this character. An empty one is what a variable that is not set leaves, and names nobody.
_MYSELF = "\0"


def lease_option(function: F) -> F:
    """The holder in whose name a command is sent, as ``lease``; None where none is named."""

    def with_default(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
        if value != _MYSELF:
            return value
        from agent.client.leases import default_holder

        return default_holder()

    return click.option(
        "--lease",
        is_flag=False,
        flag_value=_MYSELF,
        metavar="[NAME]",
        callback=with_default,
        help="Send it as the holder of a lease, see `psu-agent lease`.  [NAME: $PSU_AGENT_HOLDER, else user@host]",
    )(function)


def broker_options(function: F) -> F:
    """The options that name a broker: the keyword arguments of `find_broker`."""
    options = [
        click.option(
            "-b",
            "--broker",
            metavar="URL",
            envvar="PSU_AGENT_BROKER",
            help="mqtt[s]://[user@]host[:port]; without it the configuration's settings.mqtt, else this computer's "
            "broker, localhost:1883.  [env: PSU_AGENT_BROKER]",
        ),
        click.option(
            "-c",
            "--config",
            "config_path",
            type=click.Path(path_type=Path),
            help="Configuration file; without it $PSU_AGENT_CONF, ./psu-agent.yaml, /etc/psu-agent/psu-agent.yaml.",
        ),
        click.option("--base-topic", metavar="TOPIC", help="Topic that everything stands under.  [default: psu]"),
        click.option("--ca", type=click.Path(path_type=Path), help="CA of the broker's certificate, PEM (mqtts://)."),
        click.option(
            "--password-file",
            type=click.Path(path_type=Path),
            help="File with the password; without it $PSU_AGENT_MQTT_PASSWORD.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def find_broker(
    broker: str | None, config_path: Path | None, base_topic: str | None, ca: Path | None, password_file: Path | None
) -> Address:
    """The broker that the options mean. On a terminal it asks for a password that is missing.

    :raises Failure: an option is wrong
    :raises Faults: the configuration has some
    """
    from dataclasses import replace

    from pydantic import SecretStr

    from agent.client.address import find_address
    from agent.config import ConfigError

    try:
        address = find_address(
            broker, config_path=config_path, base_topic=base_topic, ca=ca, password_file=password_file
        )
    except ConfigError as error:
        tell_faults(error)
    except ValueError as error:
        raise Failure(str(error)) from None
    if broker is not None and address.username and address.password is None and sys.stdin.isatty():
        prompted = click.prompt(f"Password of {address.username} at {address.host}", hide_input=True, err=True)
        address = replace(address, password=SecretStr(prompted))
    return address


def load_config(path: Path | None) -> Config:
    """The configuration of `path`, or of the file that is found without one.

    :raises Faults: it has some
    """
    from agent import config

    try:
        return config.load(config.find(path))
    except config.ConfigError as error:
        tell_faults(error)


def tell_faults(error: ConfigError) -> NoReturn:
    """End with every fault of a configuration on a line of its own, and exit code 2.

    :raises Faults: always
    """
    raise Faults(error) from None


def parse_target(text: str | None) -> Target | None:
    """The unit or channel that a text names; None for the whole fleet.

    :raises Failure: it names none
    """
    from agent.client.request import Target

    if text is None or text == "all":
        return None
    try:
        return Target.parse(text)
    except ValueError as error:
        raise Failure(str(error)) from None
