"""The removal of entities from Home Assistant, even if it was not running when they went.

An entity is removed by a payload that names its component with nothing but its platform. A Home Assistant that was not
running then remembers the entity for ever, and removes it only when the entity comes and goes once more. So it is offered
placeholders after its start: entities with the unique ids of those that are gone, never available. Then they are removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from agent.homeassistant.devices import Payload, availability
from agent.homeassistant.entities import Component
from agent.homeassistant.records import Record
from agent.protocol.topics import Topics


def encode(payload: Payload, gone: Mapping[str, str], placeholders: Mapping[str, Component] | None = None) -> bytes:
    """The payload as it is published.

    :param gone: component id → platform of entities that an older payload had; they are named bare, which removes them
    :param placeholders: the components to publish for entities that are gone, see `placeholders_for`
    """
    bare = {name: {"platform": platform} for name, platform in gone.items()}
    components = {**bare, **(placeholders or {}), **payload["components"]}
    return json.dumps({**payload, "components": components}, ensure_ascii=False, separators=(",", ":")).encode()


def placeholders_for(key: str, agent: str, gone: Mapping[str, str], topics: Topics) -> dict[str, Component]:
    """Entities that are never available, with the unique ids of entities that are gone, by component id.

    :param key: the device's
    :param gone: component id → platform
    """
    return {
        name: {
            "platform": platform,
            "unique_id": f"{key}_{name}",
            "name": name.replace("_", " "),
            **_silence(agent, topics),
        }
        for name, platform in gone.items()
    }


def with_placeholders(payload: Payload, record: Record, agent: str, topics: Topics) -> bytes:
    """A device as it is published after a start of Home Assistant that may not know what has gone from it.

    :param payload: the device as it is offered, or from `placeholder_of` where the device itself is gone
    """
    components = payload["components"]
    gone = {name: p for name, p in {**record.gone, **record.platforms}.items() if name not in components}
    (key,) = payload["device"]["identifiers"]
    return encode(payload, {}, placeholders_for(key, agent, gone, topics))


def placeholder_of(payload: Payload, agent: str, topics: Topics) -> Payload:
    """A device that is gone: all its entities, none of them ever available."""
    silence = _silence(agent, topics)
    return {**payload, "components": {name: {**c, **silence} for name, c in payload["components"].items()}}


def _silence(agent: str, topics: Topics) -> Component:
    nowhere = topics.agent_nowhere(agent)
    return {"state_topic": nowhere, "command_topic": nowhere, "availability": [availability(nowhere)]}
