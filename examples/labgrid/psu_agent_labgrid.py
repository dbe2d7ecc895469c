"""A power driver for labgrid: on, off, cycle, get, and the volts and amperes that the supply measures.

Into an environment's file: ``imports: [psu_agent_labgrid.py]``, see local.yaml and remote.yaml beside this. psu-agent has to be
installed where labgrid runs: `pip install` of the same package, of which only `agent.client` is used.

Each fault is labgrid's ExecutionError, with the agent's sentence. `get` and the values are what the supply says at that moment.
They raise while supply, agent or broker is away, and never give a last value.
"""

import contextlib

import attr
from labgrid.driver import Driver
from labgrid.driver.exception import ExecutionError
from labgrid.driver.powerdriver import PowerResetMixin
from labgrid.factory import target_factory
from labgrid.protocol import PowerProtocol
from labgrid.resource import Resource
from labgrid.step import step

from agent.client import ClientError, connect

_text = attr.validators.instance_of(str)


@target_factory.reg_resource
@attr.s(eq=False)
class PsuAgentChannel(Resource):
    """A channel of a supply that psu-agent serves.

    Args:
        channel (str): unit and channel, by number or name: psu1/2, psu1/VDD
        broker (str): mqtt[s]://[user@]host[:port]; without it $PSU_AGENT_BROKER. A password is in $PSU_AGENT_MQTT_PASSWORD
        base (str): topic that everything stands under
    """

    channel = attr.ib(validator=_text)
    broker = attr.ib(default=None, validator=attr.validators.optional(_text))
    base = attr.ib(default=None, validator=attr.validators.optional(_text))


@target_factory.reg_driver
@attr.s(eq=False)
class PsuAgentPowerDriver(Driver, PowerResetMixin, PowerProtocol):
    """Switches a PsuAgentChannel, and measures.

    Args:
        voltage (float): V that `on` sets before the output goes on; without it the setting stays as it is
        current (float): A, the current limit, likewise
        delay (float): s that `cycle` leaves the output off; the agent turns it on again
        lease (float): s for which `on` and `cycle` reserve the channel, so that nobody else sets it; `off` gives it back
    """

    bindings = {"port": {"PsuAgentChannel"}}  # noqa: RUF012  # as in every driver of labgrid's
    voltage = attr.ib(default=None, converter=attr.converters.optional(float))
    current = attr.ib(default=None, converter=attr.converters.optional(float))
    delay = attr.ib(default=2.0, converter=float)
    lease = attr.ib(default=None, converter=attr.converters.optional(float))

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self._supplies = None
        self._channel = None

    def on_activate(self):
        self._supplies = self._do(lambda: connect(self.port.broker, base=self.port.base))
        try:
            self._channel = self._do(lambda: self._supplies.channel(self.port.channel))
        except ExecutionError:
            self.on_deactivate()
            raise

    def on_deactivate(self):
        supplies, self._supplies, self._channel = self._supplies, None, None
        if supplies is not None:
            supplies.close()

    @Driver.check_active
    @step()
    def on(self):
        """Turn the output on, with the volts and amperes of the configuration."""
        self._reserve()
        self._do(lambda: self._channel.set(state=True, voltage_limit=self.voltage, current_limit=self.current))

    @Driver.check_active
    @step()
    def off(self):
        """Turn the output off, whoever has reserved it."""
        self._do(self._channel.off)
        if self.lease is not None:
            # It may be somebody else's. One that can't be given back now ends by itself.
            with contextlib.suppress(ClientError):
                self._channel.lease(self.lease).release()

    @Driver.check_active
    @step()
    def cycle(self):
        """Off, `delay` s, on: by the agent, which does it to the end also if this host dies."""
        self._reserve()
        self._do(lambda: self._channel.cycle(self.delay))

    @Driver.check_active
    @step(result=True)
    def get(self):
        """True if the output is on, as the supply says now."""
        state = self.measure().state
        if state is None:
            raise ExecutionError(f"{self.port.channel} does not tell if it is on")
        return state

    @Driver.check_active
    @step(result=True)
    def measure(self):
        """The channel's state as the supply measures it now: ``voltage``, ``current``, ``power``, ``mode``, ``tripped``, …"""
        return self._do(self._channel.state)

    @Driver.check_active
    @step(args=["timeout"], result=True)
    def wait(self, condition, timeout=10.0):
        """The first state that fulfils a condition, such as ``lambda state: state.current > 0.1``."""
        return self._do(lambda: self._channel.wait(condition, timeout))

    @property
    def volts(self):
        """V at the terminals, measured now."""
        return self.measure().voltage

    @property
    def amperes(self):
        """A, measured now."""
        return self.measure().current

    def _reserve(self):
        if self.lease is not None:
            self._do(lambda: self._channel.lease(self.lease))

    @staticmethod
    def _do(action):
        try:
            return action()
        except (ClientError, ValueError) as error:
            raise ExecutionError(str(error)) from None
