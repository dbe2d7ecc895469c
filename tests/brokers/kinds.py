"""All brokers that are run."""

from __future__ import annotations

from tests.brokers.erlang import Ejabberd, RabbitMq
from tests.brokers.java import Artemis, HiveMq, Moquette
from tests.brokers.nats import Nats
from tests.brokers.program import BrokerProgram
from tests.brokers.small import Aedes, Amqtt, Iotcore, Mochi, Mosquitto

#: In the order of the table, from what a lab has most often to what it has seldom.
KINDS: tuple[type[BrokerProgram], ...] = (
    Mosquitto, Iotcore, Mochi, HiveMq, Artemis, Ejabberd, Nats, RabbitMq, Aedes, Moquette, Amqtt,
)  # fmt: skip
