"""The address that `--metrics` names, and a socket that listens there."""

from __future__ import annotations

import errno
import socket

_FORM = "give HOST:PORT, such as 127.0.0.1:9100, [::1]:9100, or :9100 for every address of this host"
#: Connections that the system holds until they are taken.
_BACKLOG = 64


class AddressError(ValueError):
    """Nothing can listen at the address. One sentence that says why, and what to do."""


def parse(text: str) -> tuple[str, int]:
    """The host and the port that a text names; an empty host stands for every address of this host.

    :raises AddressError: it names none
    """
    host, colon, digits = text.strip().rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 5
    if not colon or not is_number or not 1 <= int(digits) <= 65535:
        raise AddressError(f"{text!r} names no port from 1 to 65535; {_FORM}")
    if is_bracketed:
        host = host[1:-1]
    if (":" in host) != is_bracketed or any(character.isspace() or character in "/[]@" for character in host):
        raise AddressError(f"{text!r} is no address; {_FORM}")
    return host, int(digits)


def listen(text: str) -> socket.socket:
    """A socket that listens at the address which a text names. Close it.

    :raises AddressError: the text names no address, or nothing can listen there
    """
    host, port = parse(text)
    try:
        return _listening(host, port)
    except socket.gaierror as error:
        raise AddressError(f"--metrics {text}: the host name {host!r} is not known: {error.strerror}") from None
    except UnicodeError:
        raise AddressError(f"--metrics {text}: {host!r} is no host name") from None
    except OSError as error:
        raise AddressError(f"--metrics {text}: {_why(error, port)}") from None


def _why(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} is taken by another program; give another port"
        case errno.EADDRNOTAVAIL:
            return "this host does not have that address; give one of its own, or :PORT for all of them"
        case errno.EACCES | errno.EPERM:
            return f"port {port} needs more rights than this user has; give a port from 1024 on"
    return f"nothing can listen there: {error.strerror or error}"


def _listening(host: str, port: int) -> socket.socket:
    if not host:
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # IPv6 is switched off
                    raise
        return socket.create_server(("", port), backlog=_BACKLOG)
    family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(found, family=family, backlog=_BACKLOG)
