"""A simulated supply as a process of its own, with loads that change, for `simulate` and `demo`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

from agent.config.source import as_yaml
from agent.instruments import catalogue, scan
from agent.local.ports import is_free
from agent.simulator import (
    E36300,
    SUPPLIES,
    Load,
    NetworkInstrument,
    Simulator,
    Supply,
    loads,
    make_supply,
    number_of_outputs,
)
from agent.simulator.announcing import Announcement

DEFAULT_PORT = 5025


def changing_loads(model: str) -> Mapping[int, Load]:
    """A load for each channel: a device that sleeps and wakes, a motor, and one that drives its output into CC at times."""
    kinds: list[Load] = [
        loads.Square(loads.ConstantPower(0.4), loads.ConstantPower(2.1), period=9.0),
        loads.Wander(0.24, 0.16, period=6.0),
        loads.Square(loads.Resistor(150.0), loads.Resistor(55.0), period=21.0, duty=0.7),
    ]
    return {channel: kinds[(channel - 1) % len(kinds)] for channel in range(1, number_of_outputs(model) + 1)}


def set_front_panel(instrument: E36300 | Supply) -> None:
    """Turn knobs and press keys as a person at the bench would: the outputs are on before an agent connects."""
    wanted = {1: (3.3, 2.0), 2: (12.0, 0.6), 3: (24.0, 0.3), 4: (5.0, 0.5)}
    if isinstance(instrument, Supply):
        for channel, output in instrument.outputs.items():
            voltage, current = wanted[channel]
            instrument.turn(channel, min(voltage, output.rating.voltage_max), min(current, output.rating.current_max))
            instrument.press_output(channel, on=True)
        return
    panel = instrument.panel
    for channel in instrument.channels:
        voltage, current = wanted[channel]
        # The E36311A's third output is a negative one.
        panel.knob_voltage(channel, -voltage if instrument.model == "E36311A" and channel == 3 else voltage)
        panel.knob_current(channel, current)
        panel.press_output(channel, on=True)


def describe(simulator: NetworkInstrument, instrument: E36300 | Supply, name: str = "sim1") -> str:
    """The simulator's VISA resource names as comments, and an entry for `units:`; the whole is YAML."""
    number = f", serial {instrument.serial}" if instrument.serial else ""
    lines = [f"# simulated {instrument.manufacturer} {instrument.model}{number}"]
    lines += [f"# {transport:<7} {resource}" for transport, resource in simulator.resources.items()]
    try:
        model = catalogue.candidates(instrument.model)[0]
    except catalogue.UnknownModelError:
        return "\n".join([*lines, "# no series file describes it, so the agent can't use it", ""])
    entry = scan.unit_entry(name, model, simulator.resource, instrument.serial)
    return "\n".join(lines) + "\n" + as_yaml({"units": [entry]})


def find_model(text: str) -> str:
    """The name of a model that can be simulated.

    :raises ValueError: the model is not known, or there is no simulator of it
    """
    name = text.rpartition(",")[2].strip().upper()
    if name in SUPPLIES:
        return name
    for model in catalogue.candidates(text):
        if model.name in SUPPLIES:
            return model.name
    raise ValueError(f"there is no simulator of {text!r}; there is one of {', '.join(SUPPLIES)}")


def run(
    model: str,
    *,
    host: str,
    port: int | None,
    vxi11_port: int | None,
    hislip_port: int | None,
    pty: bool,
    serial: str | None,
    latency: float,
    outputs_on: bool,
    announce: bool,
    tell: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Simulate a supply until SIGINT, SIGTERM or SIGHUP.

    :param port: of the raw socket, 0 for a free one; None for the one that the real supply has, or a free one where that
        is taken, and for none where the real supply has serial lines alone
    :param pty: with a serial port too, which a supply that has nothing else gets anyway
    :param latency: s that a message takes
    :param announce: have `scan` find it: by mDNS, on the network that it listens on, which is no other host's for loopback
    :param tell: called with what is to be printed
    :param warn: called with what went wrong, also from another thread
    :raises ValueError: the model is not known, or a port or the address can't be listened on
    """
    name = find_model(model)
    family = SUPPLIES[name]
    remark = None
    serial_alone = issubclass(family, Supply) and family.transports == {"serial"}
    if port is None and not serial_alone:
        port = family.port
        if not is_free(port):
            port, remark = 0, f"# port {family.port} is taken, so it has another"
    instrument = make_supply(
        name, serial=_serial_for(name, port) if serial is None else serial, loads=changing_loads(name), log_size=1000
    )
    simulator = NetworkInstrument(
        instrument,
        host=host,
        socket_port=port,
        vxi11_port=vxi11_port,
        hislip_port=hislip_port,
        pty=pty or serial_alone,
        latency=latency,
    )
    try:
        simulator.start()
    except OSError as error:
        raise ValueError(f"can't listen on {host}: {error.strerror or error}; give another --port or --host") from None
    # Before anything is printed: who reads it may send a signal at once.
    done = ending_signal()
    try:
        if outputs_on:
            set_front_panel(instrument)
        if remark is not None:
            tell(remark)
        tell(describe(simulator, instrument).rstrip())
        with announced(simulator, instrument, warn) if announce else contextlib.nullcontext():
            wait_for(done)
    finally:
        simulator.stop()


@contextlib.contextmanager
def announced(simulator: NetworkInstrument, instrument: E36300 | Supply, warn: Callable[[str], None]) -> Iterator[None]:
    """Have `scan` find it until the context ends.

    :param warn: called with a sentence, from another thread, where it can't be announced
    """
    told = [part.strip() for part in str(getattr(instrument, "identity", "")).split(",")]
    identity = {
        "Manufacturer": instrument.manufacturer,
        "Model": instrument.model,
        "SerialNumber": instrument.serial,
        "FirmwareVersion": told[3] if len(told) == 4 else "",
    }
    announcement = Announcement(simulator, identity, warn)
    announcement.start()
    try:
        yield
    finally:
        announcement.stop()


def _serial_for(model: str, port: int | None) -> str:
    """A serial number of its own for each simulator of this host: an agent takes two of one number for one supply."""
    number = 61004803 + port - DEFAULT_PORT if port else 70000000 + os.getpid()
    family = SUPPLIES[model]
    return family.serial_form.format(number) if issubclass(family, Supply) else f"MY{number}"


def ending_signal() -> threading.Event:
    """An event that is set by SIGINT, SIGTERM or SIGHUP from now on, instead of the end of the process."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: done.set())
    return done


def wait_for(done: threading.Event) -> None:
    """Wait until it is set. A wait without an end would keep the handlers of signals from being run."""
    while not done.wait(1.0):
        pass


def main() -> None:
    """The demonstration's supply: ``python -m agent.cli.simulate``. Prints its resource name on stdout."""
    model = "E36313A"
    with Simulator(model, loads=changing_loads(model)) as simulator:
        set_front_panel(simulator.instrument)
        done = ending_signal()
        sys.stdout.write(simulator.resource + "\n")
        sys.stdout.flush()
        with announced(simulator, simulator.instrument, lambda _: None):
            wait_for(done)


if __name__ == "__main__":
    main()
