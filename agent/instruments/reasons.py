"""Why a unit can't be reached, in the words of its user, and what to do: from the errors of the system and of libraries.

Each sentence stands behind the address of the unit, or behind "no answer". No name of an exception, no number of an error and no
word of a library is in it; those are in the log, at level DEBUG.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import re
import socket
from dataclasses import dataclass
from typing import Literal

from pyvisa import rname

from agent.instruments import resource
from agent.local.installing import how_to_add

Kind = Literal["raw socket", "VXI-11", "HiSLIP", "Modbus", "serial", "USB", "GPIB", "other"]

_PORTMAPPER, _HISLIP = 111, 4880
#: Parts of libraries' texts that say nothing to a user.
_FOREIGN = re.compile(r"(?i:VI_|VisaIO|Errno|Traceback|0x|pyvisa)|\b[A-Z]\w*(?:Error|Exception)\b|<.*>")
#: In the texts of a library that needs another one, which is not there.
_OF_LIBRARIES = ("pyusb", "no backend", "linux-gpib", "visa implementation", "visa library", "pyserial", "libusb")
_GONE = (errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF)
#: What to do where a user may not use a unit on USB.
UDEV_RULE = "give your user the right by a udev rule (examples/systemd/70-psu-agent.rules), then plug it in again"

MOST_CLIENTS = "it may have as many clients as it takes: end other programs that use it"
LOCKED = "the unit is locked by another client; release the lock there, or end that program"


@dataclass(frozen=True, slots=True)
class Way:
    """How a unit is reached.

    ``place``: a host, the path of a serial port, or the resource name. ``port``: of a host. ``timeout``: s for an answer, None
    where it is not known. ``baud``: of a serial line. ``is_opening``: it is being opened.
    """

    kind: Kind
    place: str
    port: int | None = None
    timeout: float | None = None
    baud: int | None = None
    is_opening: bool = False

    @property
    def is_network(self) -> bool:
        """True for a unit at a host's port."""
        return self.port is not None

    def __str__(self) -> str:
        return f"{self.place} at port {self.port} ({self.kind})" if self.is_network else self.place


def way_of(uri: str, *, timeout: float | None = None, baud: int | None = None) -> Way:
    """The way to a resource name; of the kind ``other`` where it is none."""
    try:
        parsed = resource.parse(uri)
    except resource.ResourceNameError:
        return Way("other", uri, timeout=timeout)
    if isinstance(parsed, rname.TCPIPSocket):
        return Way("raw socket", parsed.host_address, int(parsed.port), timeout)
    if isinstance(parsed, rname.TCPIPInstr):
        host, _, port = parsed.host_address.partition(",")
        device, _, hislip_port = parsed.lan_device_name.partition(",")
        if device.casefold().startswith("hislip"):
            return Way("HiSLIP", host, int(hislip_port or _HISLIP), timeout)
        return Way("VXI-11", host, int(port or _PORTMAPPER), timeout)
    if isinstance(parsed, rname.ASRLInstr):
        return Way("serial", parsed.board, timeout=timeout, baud=baud)
    kind: Kind = "USB" if parsed.interface_type == "USB" else "GPIB" if parsed.interface_type == "GPIB" else "other"
    return Way(kind, uri, timeout=timeout)


def of_system(error: OSError, way: Way) -> str:
    """Why the system could not open a way, send or receive."""
    number = number_of(error)
    if isinstance(error, socket.gaierror):
        if number == socket.EAI_AGAIN:
            return f"the name {way.place} can't be looked up: no name server answers; check the network, or give the IP address"
        return f"the name {way.place} is not known in this network; check its spelling, or give the IP address"
    if isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
        return silent(way)
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many files and connections are open; raise the limit (`ulimit -n`, LimitNOFILE= of systemd)"
    known = _of_network if way.is_network else {"serial": _of_port, "USB": _of_usb}.get(way.kind)
    if known is not None and (told := known(number, error, way)) is not None:
        return told
    if number is None:
        return plain(str(error)) or unknown(way)  # a sentence of the agent's own
    return f"{plain(os.strerror(number)) or 'it failed'}; {checks(way)}"


def _of_network(number: int | None, error: OSError, way: Way) -> str | None:
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return closed(way, error)
    if number == errno.ECONNREFUSED:
        return f"Connection refused by {way}: {_not_served(way)}"
    if number in (errno.EHOSTUNREACH, errno.EHOSTDOWN):
        return f"no device answers at the address {way.place}: is the unit on and connected, and is this its address?"
    if number in (errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL):
        return f"there is no route from this host to {way.place}; check that address, and the network settings of this host"
    if number in (errno.EACCES, errno.EPERM):
        return f"this host does not allow a connection to {way.place}; its firewall or the settings of its service forbid it"
    return None


def _not_served(way: Way) -> str:
    if way.kind in ("VXI-11", "HiSLIP"):
        other = f"TCPIP::{way.place}::5025::SOCKET"
        return (
            f"the host is there, but does not serve {way.kind} at that port; turn it on in the unit's LAN settings, or reach "
            f"the unit in another way, such as {other}"
        )
    return (
        "the host is there, but nothing listens at that port; check the port in `uri`, and the unit's LAN settings. A unit that "
        "takes one client refuses others: end other programs that use it"
    )


def _of_port(number: int | None, error: OSError, way: Way) -> str | None:
    if number == errno.ENOENT:
        return missing(way)
    if number in (errno.EACCES, errno.EPERM):
        group = _group(way.place)
        return (
            f"this user may not use {way.place}: Permission denied; add the user to its group "
            f"(sudo usermod -aG {group} USER), and log in again or restart the service"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"another program uses {way.place}; end it (`fuser -v {way.place}` names it)"
    text = str(error)
    if "readiness to read" in text:  # serialposix.py, read
        return f"the port {way.place} is gone, or another program reads from it too; is its adapter still plugged in?"
    if number in _GONE:
        return f"the port {way.place} is gone; is its adapter still plugged in?"
    if number in (errno.ENOTTY, errno.EINVAL, errno.EISDIR, errno.ENOTDIR) or "configure port" in text:
        return f"{way.place} is no serial port, or does not take these settings (baud rate, data bits, parity)"
    if "Write timeout" in text:
        return f"nothing could be sent on {way.place} in time; check the flow control (handshake) of unit and configuration"
    return None


def _of_usb(number: int | None, error: OSError, way: Way) -> str | None:
    if number in (errno.EACCES, errno.EPERM):
        return f"this user may not use the unit on USB; {UDEV_RULE}"
    if number == errno.EBUSY:
        return (
            "another program, or the kernel's own driver, uses the unit on USB; end that program (another VISA library, "
            "another agent), or unload the driver (sudo modprobe -r usbtmc)"
        )
    if number in (*_GONE, errno.ENOENT):
        return "the unit on USB is gone; is it on, and its cable plugged in?"
    if number == errno.EPIPE:
        return "the unit refuses the transfer on USB; turn it off and on again if that goes on"
    return None


def silent(way: Way) -> str:
    """Nothing came in time."""
    within = "" if way.timeout is None else f" within {way.timeout:g} s"
    where = f" from {way}" if way.is_network else f" on {way.place}" if way.kind == "serial" else ""
    return f"Timeout: nothing came{where}{within}; {checks(way)}"


def checks(way: Way) -> str:
    """What to look at where a unit does not answer."""
    if way.is_network:
        return (
            "is the unit on and connected, and is this its address? A firewall, or another client that the unit serves, can be "
            "the reason too"
        )
    if way.kind == "serial":
        speed = "its baud rate" if way.baud is None else f"{way.baud} baud"
        return f"is the unit on, does its cable fit, and is it set to this interface and {speed}?"
    return f"is the unit on, and {'is this its GPIB address' if way.kind == 'GPIB' else 'its cable plugged in'}?"


def closed(way: Way, error: BaseException | None = None) -> str:
    """The unit ended the link."""
    said = "" if error is None or number_of(error) is not None else plain(str(error))
    if said and "closed the connection" not in said:
        return said
    # One that has answered before was not full.
    return f"the unit closed the connection{f'; {MOST_CLIENTS}' if way.is_opening or way.kind == 'Modbus' else ''}"


def missing(way: Way) -> str:
    """There is no such unit, as a library says."""
    if way.is_network:
        return f"nothing that speaks {way.kind} answers at {way.place}, port {way.port}; check `uri`, and the unit's LAN settings"
    if way.kind == "serial":
        return f"there is no serial port {way.place}; is its adapter plugged in? `psu-agent scan` lists the ports of this host"
    if way.kind == "USB":
        return (
            "there is no such unit on USB; is it on, and its cable plugged in? `psu-agent scan` lists those that are there. If "
            f"this user may not use it, {UDEV_RULE}"
        )
    if way.kind == "GPIB":
        return "there is no such unit on GPIB; is it on, and is this its address?"
    return f"there is no unit at {way.place}; check `uri`"


def without_library(kind: Kind) -> str:
    """The program that this kind of link needs is not installed."""
    if kind == "USB":
        return "USB needs libusb, which is not installed (Debian, Ubuntu: sudo apt install libusb-1.0-0)"
    if kind == "GPIB":
        package = how_to_add("gpib-ctypes")
        return f"GPIB needs linux-gpib and its Python package, which is not installed ({package})"
    return "the VISA library that `visabackend` names is not installed; '@py' is always there"


def garbled(way: Way) -> str:
    """The answer does not keep to the protocol."""
    if way.is_network:
        return f"something else than {way.kind} answers at {way.place}, port {way.port}; check the port and the kind of `uri`"
    return "the answer breaks the rules of this kind of link; check `uri`, and turn the unit off and on if that goes on"


def unknown(way: Way) -> str:
    """Nothing else fits."""
    return f"the link to {way} failed, for a reason that only the log at level DEBUG tells"


def of_argument(error: Exception) -> str:
    """An argument of `pyvisa_args` is none, or its value."""
    if found := re.fullmatch(r"'(\w+)' is not a valid attribute for type \w+", str(error)):
        return f"`pyvisa_args` holds {found[1]}, which a link of this kind does not have"
    return "a value in `pyvisa_args` is not of the kind that its argument takes"


def of_text(text: str, way: Way) -> str:
    """A library's text, as far as a user can do something with it."""
    if way.kind == "other":
        return missing(way)
    if found := re.search(r"\[Errno (\d+)\]", text):
        return of_system(OSError(int(found[1]), os.strerror(int(found[1]))), way)
    lowered = text.casefold()
    if any(part in lowered for part in _OF_LIBRARIES):
        return without_library(way.kind)
    if "no device found" in lowered or "device not found" in lowered:
        return missing(way)
    if "dropped by server" in lowered:
        return closed(way)
    return plain(text) or unknown(way)


def number_of(error: BaseException) -> int | None:
    """The system's number of an error, also where a library keeps it in its text alone."""
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return int(found[1]) if found else None


def plain(text: str) -> str:
    """The text in one line of at most 200 characters; empty if it has words that say nothing to a user."""
    cleaned = " ".join(text.split())
    return "" if _FOREIGN.search(cleaned) else cleaned[:200]


def _group(path: str) -> str:
    """The group that may use a port."""
    with contextlib.suppress(OSError, KeyError):
        name = grp.getgrgid(os.stat(path).st_gid).gr_name
        return "dialout" if name == "root" else name
    return "dialout"
