"""A simulated supply as a process of its own, with loads that change, for `simulate` and `demo`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

from agent.instruments import catalogue, scan
from agent.local.ports import is_free
from agent.simulator import Load, Simulator, loads

DEFAULT_PORT = 5025


def changing_loads(model: str) -> Mapping[int, Load]:
    """A load for each channel: a device that sleeps and wakes, a motor, and one that drives its output into CC at times."""
    kinds: list[Load] = [
        loads.Square(loads.ConstantPower(0.4), loads.ConstantPower(2.1), period=9.0),
        loads.Wander(0.24, 0.16, period=6.0),
        loads.Square(loads.Resistor(150.0), loads.Resistor(55.0), period=21.0, duty=0.7),
    ]
    found = catalogue.candidates(model)[0]
    return {channel.index: kinds[i % len(kinds)] for i, channel in enumerate(found.channels)}


def set_front_panel(simulator: Simulator) -> None:
    """Turn knobs and press keys as a person at the bench would: the outputs are on before an agent connects."""
    panel = simulator.instrument.panel
    for channel, (voltage, current) in {1: (3.3, 2.0), 2: (12.0, 0.6), 3: (24.0, 0.3)}.items():
        # The E36311A's third output is a negative one.
        sign = -1 if simulator.instrument.model == "E36311A" and channel == 3 else 1
        panel.knob_voltage(channel, sign * voltage)
        panel.knob_current(channel, current)
        panel.press_output(channel, on=True)


def describe(simulator: Simulator, name: str = "sim1") -> str:
    """The simulator's VISA resource names as comments, and an entry for `units:`; the whole is YAML."""
    instrument = simulator.instrument
    model = catalogue.candidates(instrument.model)[0]
    lines = [f"# simulated {model.manufacturer} {model.name}, serial {instrument.serial}"]
    lines += [f"# {transport:<7} {resource}" for transport, resource in simulator.resources.items()]
    entry = scan.unit_entry(name, model, simulator.resource, instrument.serial)
    return "\n".join(lines) + "\n" + scan.as_yaml([entry])


def run(
    model: str,
    *,
    host: str,
    port: int | None,
    vxi11_port: int | None,
    hislip_port: int | None,
    serial: str | None,
    latency: float,
    outputs_on: bool,
    tell: Callable[[str], None],
) -> None:
    """Simulate a supply until SIGINT, SIGTERM or SIGHUP.

    :param port: of the raw socket, 0 for a free one; None for 5025, or a free one where that is taken
    :param latency: s that a message takes
    :param tell: called with what is to be printed
    :raises ValueError: the model is not known, or a port or the address can't be listened on
    """
    name = catalogue.candidates(model)[0].name
    remark = None
    if port is None:
        port = DEFAULT_PORT
        if not is_free(port):
            port, remark = 0, f"# port {DEFAULT_PORT} is taken, so it has another"
    simulator = Simulator(
        name,
        serial or _serial_for(port),
        host=host,
        socket_port=port,
        vxi11_port=vxi11_port,
        hislip_port=hislip_port,
        latency=latency,
        loads=changing_loads(name),
    )
    try:
        simulator.start()
    except OSError as error:
        raise ValueError(f"can't listen on {host}: {error.strerror or error}; give another --port or --host") from None
    try:
        if outputs_on:
            set_front_panel(simulator)
        if remark is not None:
            tell(remark)
        tell(describe(simulator).rstrip())
        wait_for_signal()
    finally:
        simulator.stop()


def _serial_for(port: int) -> str:
    """A serial number of its own for each simulator of this host: an agent takes two of one number for one supply."""
    return f"MY{61004803 + port - DEFAULT_PORT}" if port else f"MY{70000000 + os.getpid()}"


def wait_for_signal() -> None:
    """Wait until SIGINT, SIGTERM or SIGHUP."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: done.set())
    while not done.wait(1.0):
        pass


def main() -> None:
    """The demonstration's supply: ``python -m agent.cli.simulate``. Prints its resource name on stdout."""
    model = "E36313A"
    with Simulator(model, loads=changing_loads(model)) as simulator:
        set_front_panel(simulator)
        sys.stdout.write(simulator.resource + "\n")
        sys.stdout.flush()
        wait_for_signal()


if __name__ == "__main__":
    main()
