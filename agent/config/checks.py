"""Checks between fields: faults that no value shows by itself.

They work on the data as it was read, so that their faults are reported together with the schema's. They leave out each value
in which a fault was found already.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agent.config.explanations import with_right
from agent.config.faults import FaultList
from agent.config.passwords import PasswordFileError, read_password
from agent.config.places import Places, known_models
from agent.config.pyvisaargs import check_pyvisa_args
from agent.config.scalars import as_text, plain
from agent.config.settings import has_home, homeless_state_dir
from agent.config.source import KeyPath
from agent.config.units import SAVED_AND_MOST
from agent.config.values import channel_number, is_true
from agent.instruments import catalogue
from agent.instruments.claims import tells_no_serial
from agent.instruments.driver import Identity

#: s. A longer timeout of a unit's programs gets a warning.
_LONG_TIMEOUT = 30


def check_settings(settings: dict[str, Any], faults: FaultList, folder: Path) -> SecretStr | None:
    """Note the faults of `settings:`. Returns the password that `password_file` holds, if any."""
    if "uvicorn" in settings:
        faults.warn(("settings", "uvicorn"), "not used: this agent serves no HTTP; take it out")
    if "state_dir" not in settings and not has_home():
        faults.warn(
            ("settings",),
            f"state_dir is missing, and this user has no home directory: the backlog and energy are kept in "
            f"{homeless_state_dir()}; give a directory that outlives the container",
        )
    mqtt = settings.get("mqtt")
    if not isinstance(mqtt, dict):
        return None
    path: KeyPath = ("settings", "mqtt")
    password = _password(path, mqtt, faults, folder)
    if isinstance(mqtt.get("tls"), dict):
        _check_tls((*path, "tls"), mqtt["tls"], faults)
    return password


def _password(path: KeyPath, mqtt: dict[str, Any], faults: FaultList, folder: Path) -> SecretStr | None:
    keys = [key for key in ("password", "password_file") if mqtt.get(key) is not None]
    if len(keys) == 2:
        faults.add((*path, "password_file"), "stands beside password; give one of the two")
    elif keys and mqtt.get("username") is None:
        faults.add((*path, keys[0]), "stands without username; give both, MQTT has no password alone")
    here = (*path, "password_file")
    if keys != ["password_file"] or not faults.is_sound(here):
        return None
    file = folder / Path(str(as_text(mqtt["password_file"]))).expanduser()
    give = "give a file that holds the password"
    try:
        return read_password(file)
    except OSError as error:
        faults.add(here, f"can't be read ({file}: {error.strerror}); {give} and that this user may read")
    except PasswordFileError as error:
        faults.add(here, f"{file} {error}; {give}")
    return None


def _check_tls(path: KeyPath, tls: dict[str, Any], faults: FaultList) -> None:
    if "key" in tls and "cert" not in tls:
        faults.add((*path, "key"), "stands without cert; give both or neither")
    if "cert" in tls and "key" not in tls:
        faults.add((*path, "cert"), "stands without key; give both or neither")
    if is_true(tls.get("insecure")):
        faults.warn((*path, "insecure"), "the broker's certificate is not checked against its name")


def check_units(units: list[Any], faults: FaultList) -> None:
    """Note the faults of `units:`: of each unit, and names and addresses that two units share."""
    names: dict[str, str] = {}
    places = Places(faults)
    for i, unit in enumerate(units):
        if not isinstance(unit, dict):
            continue
        path: KeyPath = ("units", i)
        is_external = unit.get("model") == catalogue.EXTERNAL
        _check_name(path, unit, names, faults)
        _check_kind(path, unit, is_external, faults)
        if not is_external:
            places.add(path, unit)
        _check_serial((*path, "serial"), unit.get("serial"), faults)
        uri = str(as_text(unit["uri"])) if "uri" in unit and faults.is_sound((*path, "uri")) else None
        check_pyvisa_args((*path, "pyvisa_args"), unit.get("pyvisa_args"), faults, uri)
        if isinstance(unit.get("channels"), dict):
            _check_channels((*path, "channels"), unit, is_external, faults)


def _check_name(path: KeyPath, unit: dict[str, Any], names: dict[str, str], faults: FaultList) -> None:
    """:param names: the place of each name until now; the unit's is added"""
    here = (*path, "name")
    if "name" not in unit or not faults.is_sound(here):
        return
    name = str(as_text(unit["name"]))
    if name in names:
        faults.add(here, f"{name!r} is {names[name]}'s name too; give each unit its own")
    names.setdefault(name, faults.source.place(path).key)


def _check_kind(path: KeyPath, unit: dict[str, Any], is_external: bool, faults: FaultList) -> None:
    """Note keys that the other kind of unit has: on VISA, or of model `external`; and those that its own kind needs."""
    if is_external:
        if "commands" not in unit:
            faults.add((*path, "commands"), with_right("is missing", (*path, "commands")))
        for key in ("address", "pyvisa_args", "visabackend"):
            if key in unit:
                faults.add((*path, key), "has no meaning with model external; take it out")
        _check_off_command(path, unit, faults)
        _check_timeout(path, unit, faults)
        return
    if "uri" not in unit:
        faults.add((*path, "uri"), with_right("is missing", (*path, "uri")))
    if "commands" in unit:
        faults.add((*path, "commands"), "has no meaning with this model; take it out, or give `model: external`")


def _check_serial(path: KeyPath, serial: Any, faults: FaultList) -> None:
    """Warn of a serial number that units have which have none of their own."""
    if serial is not None and faults.is_sound(path) and tells_no_serial(Identity("", "", str(as_text(serial)), "")):
        faults.warn(
            path,
            f"{str(as_text(serial))[:40]!r} is told by units that have no number of their own, so it pins none of them; take it "
            "out, and tell units on one line apart by their `address`",
        )


def _check_timeout(path: KeyPath, unit: dict[str, Any], faults: FaultList) -> None:
    """Warn of programs that may take so long that an off has to wait for them."""
    commands, here = unit.get("commands"), (*path, "commands", "timeout")
    timeout = plain(commands.get("timeout")) if isinstance(commands, dict) else None
    if isinstance(timeout, int | float) and timeout > _LONG_TIMEOUT and faults.is_sound(here):
        faults.warn(
            here,
            f"commands to this unit, off included, wait for up to {timeout:g} s while a program of it does not end; "
            f"give up to {_LONG_TIMEOUT}",
        )


def _check_off_command(path: KeyPath, unit: dict[str, Any], faults: FaultList) -> None:
    """Note outputs that are to be turned off when the broker is gone, where the unit has no command for it."""
    commands, channels = unit.get("commands"), unit.get("channels")
    if not isinstance(channels, dict) or (isinstance(commands, dict) and "set" in commands):
        return
    for key, channel in channels.items():
        if isinstance(channel, dict) and channel.get("on_broker_loss") == "off":
            faults.add((*path, "channels", key, "on_broker_loss"), "needs the unit's commands.set; give that too")


def _check_channels(path: KeyPath, unit: dict[str, Any], is_external: bool, faults: FaultList) -> None:
    candidates: tuple[catalogue.Model, ...] = ()
    if "model" in unit and faults.is_sound((*path[:-1], "model")):
        candidates = known_models(unit["model"])
    given: dict[int, tuple[KeyPath, dict[str, Any]]] = {}
    for key, channel in unit["channels"].items():
        number = channel_number(key)
        if isinstance(number, int):
            given[number] = ((*path, key), channel if isinstance(channel, dict) else {})
    indices = sorted({channel.index for model in candidates for channel in model.channels})
    model_name = "/".join(model.name for model in candidates)
    for number, (here, _) in given.items():
        if indices and number not in indices:
            known = ", ".join(str(index) for index in indices)
            faults.add(here, f"{model_name} has no channel {number}; give one of {known}")
        elif number < (0 if is_external else 1):  # only its programs tell which channels an external unit has
            faults.add(here, f"{number} is no channel number; give the number on the front panel, from 1")
    _check_channel_names(given, indices, faults)
    for number, (here, channel) in given.items():
        _check_most(here, channel, number, candidates, model_name, faults)
        _check_saved(here, channel, faults)


def _check_channel_names(
    given: dict[int, tuple[KeyPath, dict[str, Any]]], indices: list[int], faults: FaultList
) -> None:
    """:param indices: the channels that the model has"""
    names: dict[str, str] = {}
    for number, (here, channel) in given.items():
        if channel.get("name") is None or not faults.is_sound((*here, "name")):
            continue
        name = str(as_text(channel["name"]))
        if name in names:
            faults.add((*here, "name"), f"{name!r} is {names[name]}'s name too; give each channel its own")
        names.setdefault(name, f"channel {number}")
    for number, (here, channel) in given.items():
        name = str(as_text(channel.get("name")))
        for index in indices:
            if index != number and name == f"CH{index}" and "name" not in given.get(index, ((), {}))[1]:
                faults.add((*here, "name"), f"{name!r} is channel {index}'s name unless it has another; give another")


def _check_most(
    path: KeyPath,
    channel: dict[str, Any],
    number: int,
    candidates: tuple[catalogue.Model, ...],
    model_name: str,
    faults: FaultList,
) -> None:
    """Note limits above everything that the output can be set to: they are slips."""
    outputs = [output for model in candidates for output in model.channels if output.index == number]
    if not outputs:
        return
    for key, unit, ranges in (
        ("voltage_max", "V", [output.voltage for output in outputs]),
        ("current_max", "A", [output.current for output in outputs]),
    ):
        value = channel.get(key)
        most = max((max(abs(limits.min), abs(limits.max)) for limits in ranges if limits), default=math.inf)
        if isinstance(value, int | float) and faults.is_sound((*path, key)) and value > most:
            faults.add(
                (*path, key),
                f"{value:g} {unit} is more than channel {number} of {model_name} can be set to; "
                f"give a number above 0, up to {most:g} {unit}",
            )


def _check_saved(path: KeyPath, channel: dict[str, Any], faults: FaultList) -> None:
    """Note saved settings above the limits of their channel."""
    for setting, limit in SAVED_AND_MOST.items():
        value, most = channel.get(setting), channel.get(limit)
        if not (isinstance(value, int | float) and isinstance(most, int | float)):
            continue
        if faults.is_sound((*path, setting)) and faults.is_sound((*path, limit)) and abs(value) > most:
            faults.add((*path, setting), f"{value:g} is more than the {limit} of {most:g}; give less")
