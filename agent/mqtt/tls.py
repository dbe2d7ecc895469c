"""TLS for the connection to the broker: version 1.2 or later, the broker's certificate and name verified."""

from __future__ import annotations

import ssl

from agent.mqtt.settings import TlsSettings


class TlsError(ValueError):
    """The certificates can't be used. The message names the file and says what is wrong with it."""


def context(settings: TlsSettings) -> ssl.SSLContext:
    """The TLS context for ``settings``, ready for a connection. Reads the files anew, so that a renewed certificate is used.

    :raises TlsError: a file is no certificate or no key, or they do not belong together
    """
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
