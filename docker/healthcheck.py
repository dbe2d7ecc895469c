"""Exit 0 if the agent of this container's configuration publishes its metrics, which it does every 10 s.

Then the configuration can be read, the broker accepts the agent, and the agent's main loop runs. Units that are offline are no
fault of the container.
"""

from __future__ import annotations

import queue
import sys
import time

from agent.client.address import Address
from agent.client.connection import BrokerError, Client
from agent.config import ConfigError, find, load

PATIENCE = 15.0  # s


def main() -> int:
    try:
        config = load(find(None))
    except ConfigError as error:
        print(error)
        return 1
    settings = config.settings
    try:
        with Client(Address.from_settings(settings.mqtt)) as client:
            topic = client.topics.agent_metrics(settings.agent)
            client.subscribe([topic])
            end = time.monotonic() + PATIENCE
            while (left := end - time.monotonic()) > 0:
                try:
                    item = client.inbox.get(timeout=left)
                except queue.Empty:
                    break
                if getattr(item, "topic", None) == topic:
                    return 0
    except BrokerError as error:
        print(error)
        return 1
    print(f"nothing on {topic} for {PATIENCE:g} s")
    return 1


if __name__ == "__main__":
    sys.exit(main())
