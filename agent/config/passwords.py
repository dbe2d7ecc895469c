"""A password that stands in a file."""

from __future__ import annotations

import codecs
from pathlib import Path

from pydantic import SecretStr

#: MQTT 5, 3.1.3.6: a password is binary data, which has a length of two bytes.
_MOST_BYTES = 65535
#: The same in UTF-16, with a mark and a line end.
_MOST_READ = 2 * _MOST_BYTES + 8


class PasswordFileError(ValueError):
    """The file holds no password that can be used. The text goes on where the file's name ends: ``is empty``."""


def read_password(file: Path) -> SecretStr:
    """The password in a file, without the line end behind it and without the byte order mark that Windows puts before it.

    :raises OSError: the file can't be read
    :raises PasswordFileError: it is no text in UTF-8, or in UTF-16 with its mark; it is empty, or longer than MQTT allows
    """
    with file.open("rb") as stream:
        content = stream.read(_MOST_READ + 1)
    try:
        # PowerShell 5 writes UTF-16.
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        password = content.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError:
        raise PasswordFileError("is no text") from None
    if not password:
        raise PasswordFileError("is empty")
    if len(password.encode()) > _MOST_BYTES or len(content) > _MOST_READ:
        raise PasswordFileError(f"is longer than the {_MOST_BYTES} bytes that MQTT allows")
    return SecretStr(password)
