"""Configuration files for the tests, and short ways to read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import config
from agent.config import ConfigError

CONTRACT = """\
settings:
  agent: bench3                  # this agent's name; default: the host name
  poll_interval: 1.0             # seconds between polls of a unit, 0 = as fast as it answers
  state_dir: /var/lib/psu-agent  # backlog, energy; default: the user's state directory
  mqtt:
    host: localhost
    port: 1883
    username: bench3
    password_file: mqtt-password     # or password; ${NAME} takes a value from the environment
    tls: {ca: ca.crt, cert: agent.crt, key: agent.key}   # `tls: true` for the system's CAs
    base_topic: psu
    protocol: 5                  # or 3.1.1
  homeassistant: {discovery_prefix: homeassistant}       # absent: no discovery

units:
  - name: psu1                   # [A-Za-z0-9_-]+, unique; `all`, `agents`, `groups` and `response` are reserved
    model: 'Keysight Technologies,E36313A'
    uri: 'TCPIP::192.168.50.51::inst0::INSTR'
    pyvisa_args: {open_timeout: 5000}    # handed to pyvisa's open_resource()
    visabackend: '@py'
    poll_interval: 0.5           # overrides the setting
    serial: MY61004803           # optional: refuse any other unit at this address
    channels:
      1: {name: VDD, voltage_max: 5.5, current_max: 1.0}
      3: {name: MOTOR, on_broker_loss: "off", broker_loss_after: 10}
"""

PSUDAEMON = """\
settings:
  uvicorn:
    port: 5000
    log_level: info

units:
  - name: psu1
    model: 'Keysight Technologies,E36313A'
    uri: 'TCPIP::192.168.50.51::inst0::INSTR'
    pyvisa_args:
      open_timeout: 5000
  - name: psu2
    model: 'Keysight Technologies,E36313A'
    uri: 'TCPIP::localhost:3333::INSTR'
    visabackend: './psudaemon/psumodels/e36300.yaml@sim'
    pyvisa_args:
      write_termination: "\\n"
      read_termination: "\\n"
"""

UNIT = "{name: a, model: E36313A, uri: 'TCPIP::a::INSTR'}"


def read(text: str, folder: Path = Path("/nowhere")) -> config.Config:
    return config.parse(text.encode(), folder / "psu-agent.yaml")


def faults(text: str, folder: Path = Path("/nowhere")) -> list[str]:
    """Every fault as ``LINE: KEY: message``."""
    with pytest.raises(ConfigError) as raised:
        read(text, folder)
    prefix = f"{folder}/psu-agent.yaml:"
    lines = str(raised.value).splitlines()
    assert len(lines) == len(raised.value.faults)
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def one_fault(text: str, folder: Path = Path("/nowhere")) -> str:
    found = faults(text, folder)
    assert len(found) == 1, found
    return found[0]


def unit(**keys: str) -> str:
    """A file of one unit, its first key on line 2."""
    given = {"name": "psu1", "model": "E36313A", "uri": "'TCPIP::a::INSTR'"} | keys
    return "units:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in given.items() if value) + "\n"


def serial(args: str) -> str:
    """A file of one unit on a serial port, with these ``pyvisa_args``."""
    return unit(uri="ASRL/dev/ttyUSB0::INSTR", pyvisa_args=args)


def mqtt(**keys: str) -> str:
    """A file whose settings.mqtt begins on line 4."""
    return f"units: [{UNIT}]\nsettings:\n  mqtt:\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items())
