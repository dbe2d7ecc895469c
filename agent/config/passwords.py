"""A password that stands in a file."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

#: MQTT 5, 3.1.3.6: a password is binary data, which has a length of two bytes.
_MOST_BYTES = 65535


class PasswordFileError(ValueError):
    """The file holds no password that can be used. The text goes on where the file's name ends: ``is empty``."""


def read_password(file: Path) -> SecretStr:
    """The password in a file, without the line end behind it.

    :raises OSError: the file can't be read
    :raises PasswordFileError: it is no UTF-8 text, empty, or longer than MQTT allows
    """
    with file.open("rb") as stream:
        content = stream.read(_MOST_BYTES + 2)
    try:
        password = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise PasswordFileError("is no text") from None
    if not password:
        raise PasswordFileError("is empty")
    if len(content) > _MOST_BYTES:
        raise PasswordFileError(f"is longer than the {_MOST_BYTES} bytes that MQTT allows")
    return SecretStr(password)
