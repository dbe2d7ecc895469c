"""The ways in which something that was asked of supplies fails. The text of each is one sentence for people."""

from __future__ import annotations

from agent.protocol.errors import ErrorCode
from agent.protocol.messages import ChannelState, Response


class ClientError(Exception):
    """All of these."""


class BrokerError(ClientError):
    """The broker can't be reached, or refused what was asked."""


class SilentBrokerError(BrokerError):
    """The broker does not answer on a connection that there is."""


class NotAllowedError(BrokerError):
    """The broker does not let this user publish there (MQTT 5; an older broker does not tell)."""


class NotReadableError(BrokerError):
    """The broker does not let this user read there."""


class NobodyAnsweredError(ClientError):
    """No agent answered in time. If that was a command, it is not known if it was carried out."""


class OfflineError(ClientError):
    """The unit can't be reached now, or its agent is offline: its state is not known."""


class WaitTimeoutError(ClientError):
    """The condition did not become true in time. ``state``: the channel's last state that was seen; None without one."""

    def __init__(self, message: str, state: ChannelState | None = None) -> None:
        super().__init__(message)
        self.state = state


class RefusedError(ClientError):
    """The command was not, or not wholly, carried out, or a channel is not known.

    ``code``: one of `ErrorCode`, such as ``limit_exceeded``, for programs; ``message``: a sentence for people. ``response``: the
    agent's whole response, with the state that was read back if there is one; None where this side found it.
    """

    def __init__(self, code: ErrorCode, message: str, response: Response | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.response = response
