"""VISA resource names: parsing them, and comparing two that may mean the same instrument (VPP-4.3, section 4.3)."""

from __future__ import annotations

import re
from dataclasses import fields

from pyvisa import rname

_EXAMPLE = "for example TCPIP::192.168.50.51::inst0::INSTR"
#: Addresses on GPIB; secondary ones also as some libraries count them (IEEE 488.1: 0x60 to 0x7E).
_GPIB, _GPIB_SECONDARY = range(31), range(96, 127)
_INSTRUMENT_CLASSES = ("INSTR", "SOCKET", "RAW")


class ResourceNameError(ValueError):
    """The text is no VISA resource name of an instrument. The message says what is wrong and what would be right."""


def parse(name: str) -> rname.ResourceName:
    """Parse a resource name.

    Besides VISA's own forms it may hold a port where pyvisa-py takes one: ``TCPIP::host,port::inst0::INSTR``,
    ``TCPIP::host::hislip0,port::INSTR``. Behind the device name of a gateway to GPIB stand the addresses of the instrument
    (VXI-11.2): ``TCPIP::host::gpib0,5::INSTR``, with a secondary one ``TCPIP::host::gpib0,9,3::INSTR``.

    :raises ResourceNameError: it is none, or not of an instrument
    """
    if not name.isprintable() or name != name.strip() or len(name) > 256:
        raise ResourceNameError(f"holds spaces or control characters, or is too long; {_EXAMPLE}")
    try:
        parsed = rname.parse_resource_name(name)
    except (rname.InvalidResourceName, IndexError) as error:
        # pyvisa knows the resource class in capitals only.
        if (capitals := _class_in_capitals(name)) != name:
            parse(capitals)
            raise ResourceNameError(f"the resource class stands in capitals: {capitals}") from None
        detail = str(error) if isinstance(error, rname.InvalidResourceName) else ""
        syntax = re.search(r"syntax is '([^']+)'", detail)
        raise ResourceNameError(
            f"is no VISA resource name; the form is {syntax[1]}, {_EXAMPLE}"
            if syntax
            else f"is no VISA resource name; it begins with TCPIP, USB, GPIB or ASRL, {_EXAMPLE}"
        ) from None
    if parsed.resource_class not in _INSTRUMENT_CLASSES and parsed.interface_type != "VICP":
        raise ResourceNameError(f"names no instrument but a {parsed.resource_class}; {_EXAMPLE}")
    if isinstance(parsed, rname.TCPIPSocket):
        _check_port(parsed.port)
    elif isinstance(parsed, rname.TCPIPInstr):
        _check_numbers(parsed.host_address, parsed.lan_device_name)
        if parsed.lan_device_name.isdigit():
            whole = name.removesuffix("::INSTR") + "::SOCKET"
            raise ResourceNameError(f"ends in a port, which wants ::SOCKET behind it: {whole}")
    elif isinstance(parsed, rname.GPIBInstr):
        primary, secondary = parsed.primary_address, parsed.secondary_address
        _check_gpib(primary, secondary, "::".join(filter(None, (primary, secondary))), "GPIB::9::3::INSTR")
    if " " in getattr(parsed, "host_address", "") + getattr(parsed, "lan_device_name", ""):
        raise ResourceNameError(f"holds a space in the name of the host or the device; {_EXAMPLE}")
    return parsed


def same_instrument_key(name: str) -> tuple[str, ...]:
    """A key that is equal for all spellings of one address: capitals, board, parts left out, hexadecimal.

    :raises ResourceNameError: it is no resource name
    """
    parsed = parse(name)
    key = [parsed.interface_type, parsed.resource_class]
    for field in fields(parsed):
        value = getattr(parsed, field.name)
        text = "" if value is None else str(value)
        if parsed.interface_type in ("USB", "TCPIP", "VICP", "GPIB"):
            text = text.casefold()
        if field.name != "serial_number":
            text = _number(text)
        if field.name == "lan_device_name":
            text = re.sub(r"^(hislip\d+),4880$", r"\1", text)
        if field.name == "host_address":
            text = text.removesuffix(".") if not text.startswith(",") else text
        key.append(text)
    return tuple(key)


def _check_numbers(host: str, device: str) -> None:
    """Check what stands behind commas: ports, and the addresses behind a gateway to GPIB."""
    _, comma, port = host.partition(",")
    if comma:
        _check_port(port)
    name, comma, rest = device.partition(",")
    if comma and name.casefold().startswith("hislip"):
        _check_port(rest)
    elif comma and name.casefold().startswith("gpib"):
        primary, comma, secondary = rest.partition(",")
        _check_gpib(primary, secondary if comma else None, rest, "gpib0,9,3")
    elif comma and rest and not re.fullmatch(r"[\w,.-]+", rest):
        raise ResourceNameError(f"{device[:40]!r} is no device name; {_EXAMPLE}")


def _check_gpib(primary: str, secondary: str | None, address: str, example: str) -> None:
    if not (_is_within(primary, _GPIB) and (secondary is None or _is_within(secondary, _GPIB, _GPIB_SECONDARY))):
        raise ResourceNameError(
            f"{address[:20]!r} is no GPIB address; give a number from 0 to 30, and where the instrument has a secondary "
            f"address that too: {example}"
        )


def _is_within(text: str, *ranges: range) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and any(int(text) in numbers for numbers in ranges)


def _check_port(text: str) -> None:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ResourceNameError(f"{text[:20]!r} is no port; give a number from 1 to 65535")


def _class_in_capitals(name: str) -> str:
    head, separator, tail = name.rpartition("::")
    return head + separator + tail.upper() if tail.upper() in _INSTRUMENT_CLASSES else name


def _number(text: str) -> str:
    """One way to write a number, so that 0x2A8D and 10893 are the same manufacturer."""
    if len(text) <= 20 and re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return str(int(text, 16))
    return str(int(text)) if len(text) <= 20 and text.isascii() and text.isdigit() else text
