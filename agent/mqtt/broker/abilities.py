"""The abilities of a broker, as far as it tells them in CONNACK (MQTT 5, 3.2.2.3). On MQTT 3.1.1 it tells nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from paho.mqtt.properties import Properties


@dataclass(frozen=True, slots=True)
class Abilities:
    """The limits of a broker. The defaults are those of MQTT where a broker tells nothing."""

    #: Messages with QoS 1 that it takes before it has acknowledged the first of them.
    receive_maximum: int = 65_535
    #: bytes of the largest packet; None: it has told no limit.
    largest_packet: int | None = None
    #: False if it keeps no retained messages.
    retains: bool = True
    #: False if it takes no QoS 1.
    takes_qos_1: bool = True

    @classmethod
    def from_connack(cls, properties: Properties | None, *, retains: bool = True) -> Self:
        """Those that the properties of CONNACK tell.

        :param retains: false where the broker has refused a retained will
        """
        most = getattr(properties, "ReceiveMaximum", None)
        largest = getattr(properties, "MaximumPacketSize", None)
        return cls(
            receive_maximum=max(1, most) if isinstance(most, int) else cls().receive_maximum,
            largest_packet=largest if isinstance(largest, int) else None,
            retains=retains and getattr(properties, "RetainAvailable", 1) != 0,
            takes_qos_1=getattr(properties, "MaximumQoS", 1) != 0,
        )
