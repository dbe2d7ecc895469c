"""TLS for the connection to the broker: version 1.2 or later, the broker's certificate and name verified."""

from __future__ import annotations

import logging
import ssl
import threading
from concurrent.futures import Future
from pathlib import Path

from agent.mqtt.settings import TlsSettings

log = logging.getLogger(__name__)


class TlsError(ValueError):
    """The certificates can't be used. The message names the file and says what is wrong with it."""


#: s that a connection waits for the files of its certificates.
FILES_TIMEOUT = 1.0

_Key = tuple[Path | None, Path | None, Path | None, bool]
_lock = threading.Lock()
_reading: dict[_Key, Future[ssl.SSLContext]] = {}
_newest: dict[_Key, ssl.SSLContext] = {}


def context(settings: TlsSettings) -> ssl.SSLContext:
    """The TLS context for ``settings``, ready for a connection. Reads the files anew, so that a renewed certificate is used.

    Where their disk does not answer within `FILES_TIMEOUT`, it is the one that was read last.

    :raises TlsError: a file is no certificate or no key, or they do not belong together; or nothing could be read yet
    """
    key = (settings.ca, settings.cert, settings.key, settings.insecure)
    with _lock:
        reading = _reading.get(key)
        if reading is None:
            reading = _reading[key] = Future()
            threading.Thread(target=_read, args=(settings, key, reading), name="certificates", daemon=True).start()
    try:
        return reading.result(FILES_TIMEOUT)
    except TimeoutError:
        pass
    if key not in _newest:
        raise TlsError("the certificates can't be read, as their disk does not answer")
    log.warning(
        "the certificates can't be read again, as their disk does not answer; those that were read last are used"
    )
    return _newest[key]


def _read(settings: TlsSettings, key: _Key, reading: Future[ssl.SSLContext]) -> None:
    try:
        result = _context(settings)
    except BaseException as error:  # noqa: BLE001  # it is raised again where the result is wanted
        with _lock:
            del _reading[key]
        reading.set_exception(error)
        return
    with _lock:
        _newest[key] = result
        del _reading[key]
    reading.set_result(result)


def _context(settings: TlsSettings) -> ssl.SSLContext:
    try:
        result = ssl.create_default_context(cafile=str(settings.ca) if settings.ca else None)
    except (OSError, ValueError) as error:
        raise TlsError(f"{settings.ca} is no CA certificate in PEM form ({_reason(error)})") from None
    result.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert is not None:

        def no_password() -> str:
            raise TlsError(f"{settings.key} is protected by a passphrase; give a key without one")

        try:
            result.load_cert_chain(settings.cert, settings.key, no_password)
        except TlsError:
            raise
        except (OSError, ValueError) as error:
            files = f"{settings.cert} and {settings.key}"
            raise TlsError(f"{files} are no certificate and its key in PEM form ({_reason(error)})") from None
    if settings.insecure:
        result.check_hostname = False
    return result


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
