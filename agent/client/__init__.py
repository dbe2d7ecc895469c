"""A user's side of MQTT: read the fleet, send commands, save and restore settings.

For programs, this is a small library: `connect` gives `Supplies`, and these give units and channels. docs/python.md shows it::

    from agent.client import connect

    with connect("mqtt://localhost") as supplies:
        vdd = supplies.channel("psu1/VDD")
        print(vdd.set(voltage_limit=3.3, current_limit=0.5, state=True).voltage)
        vdd.wait(lambda state: state.current > 0.1, timeout=5)
        vdd.off()

Only the names below are for other programs; modules and other names may change.
"""

from agent.client.address import Address
from agent.client.channels import ChannelClient, Lease, UnitClient
from agent.client.errors import (
    BrokerError,
    ClientError,
    NobodyAnsweredError,
    NotAllowedError,
    OfflineError,
    RefusedError,
    WaitTimeoutError,
)
from agent.client.feeds import Feed
from agent.client.supplies import Supplies, connect
from agent.protocol.messages import ChannelInfo, ChannelState, Event, LeaseState, Response, UnitInfo

__all__ = [
    "Address",
    "BrokerError",
    "ChannelClient",
    "ChannelInfo",
    "ChannelState",
    "ClientError",
    "Event",
    "Feed",
    "Lease",
    "LeaseState",
    "NobodyAnsweredError",
    "NotAllowedError",
    "OfflineError",
    "RefusedError",
    "Response",
    "Supplies",
    "UnitClient",
    "UnitInfo",
    "WaitTimeoutError",
    "connect",
]
