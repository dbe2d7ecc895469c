"""The driver of a unit that can't be served as the series file that it needs has a fault: offline, with the reason."""

from __future__ import annotations

from agent.instruments.driver import Driver, DriverError, GiveWay, Profile, Reading, Write


class UnservedDriver(Driver):
    """A driver that connects to nothing.

    :param address: where the unit is, for people
    :param reason: a sentence why it is not served, with what to do
    """

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self._reason = reason

    @property
    def expected(self) -> Profile:
        """Nothing is known of it."""
        return Profile(None, ())

    def connect(self) -> Profile:
        """It never connects.

        :raises DriverError: always, with the reason
        """
        raise DriverError(self._reason)

    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        """:raises DriverError: always, with the reason"""
        raise DriverError(self._reason)

    def write(self, write: Write) -> None:
        """:raises DriverError: always, with the reason; nothing was sent"""
        raise DriverError(self._reason)

    def close(self) -> None:
        """There is nothing to close."""
