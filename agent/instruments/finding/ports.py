"""Instruments at the ports of this host: USB, GPIB and serial, and why some can't be seen or used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from pyvisa import constants
from pyvisa_py.sessions import Session as PyVisaSession

from agent.instruments import reasons

#: pyvisa-py's names of what is searched here; networks are searched by the other modules.
_KINDS = {
    constants.InterfaceType.usb: "USB",
    constants.InterfaceType.gpib: "GPIB",
    constants.InterfaceType.asrl: "serial ports (--serial asks who is there)",
}
_FAULTS = (OSError, ValueError, RuntimeError, NotImplementedError, AttributeError)


def search(remarks: list[str], root: Path = Path("/")) -> tuple[list[str], list[str]]:
    """Resource names, and the kinds of ports that were searched.

    :param remarks: takes a sentence on each kind that could not be searched, with what to do
    :param root: the folder that holds ``dev`` and ``sys``
    """
    names: list[str] = []
    searched: list[str] = []
    missing = {kind for (kind, _), _ in PyVisaSession.iter_session_classes_issues()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for (kind, what), session in PyVisaSession.iter_valid_session_classes():
            title = _KINDS.get(kind)
            # Without a library for GPIB pyvisa-py lists nothing there, and has its instruments all the same.
            if title is None or what != "INSTR" or kind in missing:
                continue
            try:
                names += session.list_resources()
                searched.append(title)
            except _FAULTS as error:
                if title != "USB":  # it has a sentence of its own
                    remarks.append(
                        f"{title} could not be searched: {reasons.plain(str(error)) or 'it is not known why'}"
                    )
    remarks += _usb(root, "USB" in searched)
    # Few have a card for it: not a word without a sign of one.
    if constants.InterfaceType.gpib in missing and any((root / "dev").glob("gpib*")):
        remarks.append(f"GPIB was not searched: {reasons.without_library('GPIB')}")
    return names, searched


def _usb(root: Path, is_searched: bool) -> Iterator[str]:
    """The kernel tells what is plugged in, also without libusb and without any right."""
    devices = _usb_instruments(root)
    if not is_searched:
        there = f", and {' and '.join(map(_name, devices))} is plugged in" if devices else ""
        yield f"USB was not searched{there}: {reasons.without_library('USB')}"
    for device in devices:
        node = root / f"dev/bus/usb/{_number(device / 'busnum'):03d}/{_number(device / 'devnum'):03d}"
        if not os.access(node, os.R_OK | os.W_OK):
            yield f"{_name(device)} on USB may not be used by this user ({node}): {reasons.UDEV_RULE}"


def _usb_instruments(root: Path) -> list[Path]:
    """Devices with an interface of the class USBTMC (application specific, subclass 3)."""
    found: dict[Path, None] = {}
    for interface in sorted((root / "sys/bus/usb/devices").glob("*:*")):
        if (_text(interface / "bInterfaceClass"), _text(interface / "bInterfaceSubClass")) == ("fe", "03"):
            found.setdefault(interface.parent / interface.name.partition(":")[0])
    return list(found)


def _name(device: Path) -> str:
    told = [_text(device / part) for part in ("manufacturer", "product", "serial")]
    ids = f"{_text(device / 'idVendor')}:{_text(device / 'idProduct')}"
    return " ".join(part for part in told if part) or f"an instrument ({ids})"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else 0
