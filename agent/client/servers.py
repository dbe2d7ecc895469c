"""Which agents serve a supply, as the broker tells, for programs that are about to use the supply by themselves."""

from __future__ import annotations

from agent.client.address import Address
from agent.client.connection import BrokerError, Client
from agent.client.fleet import Fleet
from agent.instruments.claims import tells_no_serial
from agent.instruments.driver import Identity
from agent.protocol.messages import UnitInfo


def servers(address: Address, identity: Identity) -> list[str]:
    """The running agents that serve the supply of this identity, each as ``agent bench1 on host1 serves it as psu1``.

    None where the serial number does not tell the supply from others, or where there is no such broker.
    """
    if tells_no_serial(identity):
        return []
    try:
        with Client(address) as client:
            topics, fleet = client.topics, Fleet(client.topics)
            for message in client.retained([topics.agent_status("+"), topics.every_info]):
                fleet.update(message.topic, message.payload)
    except BrokerError:
        return []
    infos = [unit.info for unit in fleet.units.values() if unit.info is not None]
    return [
        f"agent {info.agent} on {info.host or 'an unknown host'} serves it as {info.psu}"
        for info in infos
        if info.serves and fleet.agents.get(info.agent) == "online" and _is_of(info, identity)
    ]


def _is_of(info: UnitInfo, identity: Identity) -> bool:
    told = (info.manufacturer or "", info.model or "", info.serial or "")
    wanted = (identity.manufacturer, identity.model, identity.serial)
    return [text.casefold() for text in told] == [text.casefold() for text in wanted]
