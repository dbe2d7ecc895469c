"""A driver of pdudaemon: a unit of psu-agent's is a PDU, its channels are the ports, by number or name.

In pdudaemon.conf, see beside this: ``"driver": "psu-agent"``, and where they differ from what is said here

- ``broker``: ``mqtt[s]://[user@]host[:port]``; without it $PSU_AGENT_BROKER. A password is in $PSU_AGENT_MQTT_PASSWORD.
- ``base``: the topic that everything stands under.
- ``unit``: the unit's name; without it the name of the PDU.
- ``lease``: s for which `on` reserves the port for ``holder`` (``pdudaemon``), so that nobody else sets it; `off` gives it back.

pdudaemon's log has state, V and A after each request. A request that was not carried out raises, so pdudaemon answers it with an
error, after as many ``retries`` as its configuration says. `pdudaemon --drive --request get` logs them without a change.
"""

import logging

from pdudaemon.drivers.driver import FailedRequestException, PDUDriver

from agent.client import ClientError, connect

log = logging.getLogger("pdud.drivers.psu-agent")


class PsuAgent(PDUDriver):
    def __init__(self, hostname, settings):
        super().__init__()
        self.hostname = hostname
        self.settings = settings
        self.unit = settings.get("unit", hostname)

    @classmethod
    def accepts(cls, drivername):
        return drivername == "psu-agent"

    def handle(self, request, port_number):
        if request in ("get", "state"):  # of `pdudaemon --drive`; over the network it takes on, off and reboot alone
            self.port_interaction("get", port_number)
        else:
            super().handle(request, port_number)

    def port_interaction(self, command, port_number):
        holder, lease = self.settings.get("holder", "pdudaemon"), self.settings.get("lease")
        try:
            # A connection for each request: it tells now if the broker is away, and nothing is sent later.
            with connect(self.settings.get("broker"), base=self.settings.get("base"), holder=holder) as supplies:
                channel = supplies.channel(f"{self.unit}/{port_number}")
                if command == "on" and lease is not None:
                    channel.lease(lease)
                state = channel.state() if command == "get" else channel.set(state=command == "on")
                log.info("%s is %s", channel, describe(state))
                if command == "off" and lease is not None:
                    try:
                        channel.lease(lease).release()
                    except ClientError as error:
                        # It may be somebody else's. One that can't be given back now ends by itself.
                        log.info("%s: %s", channel, error)
        except (ClientError, ValueError) as error:
            raise FailedRequestException(f"{self.unit}/{port_number} {command}: {error}") from None


def describe(state):
    """State, V and A for the log."""
    switch = {True: "on", False: "off", None: "in a state that it does not tell"}[state.state]
    values = [
        f"{value:.4g} {unit}" for value, unit in ((state.voltage, "V"), (state.current, "A")) if value is not None
    ]
    return ", ".join([switch, *values, *(word for word in (state.mode, state.tripped) if word)])
