"""Access of tests to the inside of the whole agent: its state, and shorter pauses than it has by itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from agent.config.settings import Settings as AgentSettings
from agent.instruments import claims, tcp
from agent.instruments.text import identified
from agent.instruments.visa import sockets, vxi11
from agent.local import ports
from agent.mqtt.broker import attempts
from agent.service import daemon as service
from agent.service.daemon import Daemon
from agent.service.fleet import deciding
from agent.unit import connecting

#: Sets an attribute of a module: `setattr`, or a monkeypatch's.
Change = Callable[[object, str, object], None]


def ports_of_worker(number: int, count: int) -> None:
    """Give each of so many processes of a test run its own part of the ports: two never look up the same one at a time."""
    each = (ports._LAST - ports._FIRST) // count
    ports._FIRST += number * each
    ports._LAST = ports._FIRST + each - 1


def retry_soon(change: Change, *, first: float = 0.05, longest: float = 0.2, jitter: float = 0.02) -> None:
    """Have units and the broker tried again after ``first`` s to ``longest`` s, also where a connection did not last."""
    for module in (connecting, attempts):
        change(module, "FIRST_RETRY", first)
        change(module, "LAST_RETRY", longest)
        change(module, "RETRY_JITTER", jitter)
        change(module, "SHORT_LIVED", 0.0)


def wait_little_for_instruments(change: Change) -> None:
    """Shorten what is waited beyond a unit's timeout."""
    change(vxi11, "GRACE", 0.1)


def timeval(connection: Any, seconds: float) -> bytes:
    """A receive timeout (s) in the form that the kernel of a connection takes."""
    return sockets._timeval(connection, socket.SO_RCVTIMEO, seconds)


def take_over_soon(change: Change, *, patience: float) -> None:
    """Have a supply under two entries looked at often, and taken over from one that does not reach it for ``patience`` s."""
    change(connecting, "NEXT_LOOK", 0.0)
    change(claims, "PATIENCE", patience)


def reopen_at_once(change: Change) -> None:
    """Have a link that the unit closed opened again however short it lasted, and looked at before each message."""
    change(identified, "SHORT_LIVED", 0.0)
    change(tcp, "IDLE", 0.0)


def suspect_short_connections(change: Change) -> None:
    """Take a connection to the broker that ends within 5 s for taken over, as the agent does by itself."""
    change(attempts, "SHORT_LIVED", 5.0)


def measure_often(change: Change) -> None:
    """Have the metrics published four times a second."""
    change(service, "METRICS_INTERVAL", 0.25)


#: The same for an agent in a process of its own: code to run before it.
MEASURE_OFTEN = "import agent.service.daemon; agent.service.daemon.METRICS_INTERVAL = 0.25; "

#: Has an agent in a process of its own wait for a disk as long as it takes. On a busy machine that may be more than 0.1 s, and
#: a command is acknowledged without its record.
WAIT_FOR_THE_DISK = "import agent.mqtt.responses.receipts; agent.mqtt.responses.receipts.PATIENCE = 20.0; "


def is_connected(daemon: Daemon) -> bool:
    """The connection to the broker is there."""
    return daemon.session.connected


def broker_is_gone(daemon: Daemon) -> bool:
    """The agent has noticed that the broker is gone."""
    return daemon.session.gone_since is not None


def are_online(daemon: Daemon) -> bool:
    """Every unit is online."""
    return all(supply.online for supply in daemon.supplies)


def errors(daemon: Daemon) -> list[int]:
    """How often each unit was lost."""
    return [supply.counters.errors for supply in daemon.supplies]


def reconnects(daemon: Daemon, unit: str) -> int:
    """How often the link to a unit was opened again."""
    return daemon.supplies.by_name[unit].counters.reconnects


def commands(daemon: Daemon, unit: str) -> int:
    """Commands that a unit has been given."""
    return daemon.supplies.by_name[unit].counters.commands


def take_over_soon_from_agents(
    change: Change, *, takeover_after: float = 5.0, settings_for: float = 3.0, margin: float = 2.0
) -> None:
    """Have an agent take over from another one that is gone ``takeover_after`` s later, and send settings for ``settings_for`` s
    without a broker, whatever its configuration says."""
    begin = deciding.Decisions.__init__

    def begin_quicker(self: deciding.Decisions, agent: str, instance: str, _: float, settings_for: float) -> None:
        begin(self, agent, instance, takeover_after, settings_for)

    change(deciding.Decisions, "__init__", begin_quicker)
    change(deciding, "MARGIN", margin)
    change(deciding, "PROBATION", 0.5)
    change(AgentSettings, "settings_for", property(lambda _: settings_for))
