"""InfluxDB's HTTP interface, as far as setup.py needs it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

#: Seconds for one request.
TIMEOUT = 30.0
OTHER = "is it InfluxDB 2 that INFLUX_HOST names?"


class Fault(Exception):
    """An error that stops the program. Its text says what is wrong and what to do; ``code`` is the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Answer(dict[str, Any]):
    """A JSON object of the store's. A key that it lacks, or that has what is none of its, is a `Fault`: then another program
    answers."""

    def __missing__(self, key: str) -> Any:
        raise Fault(f"The answer of InfluxDB lacks {key!r}: {OTHER}")

    def text(self, key: str) -> str:
        """The text, never empty, under this key."""
        if not isinstance(found := self[key], str) or not found:
            raise Fault(f"The answer of InfluxDB has {found!r} as {key!r}: {OTHER}")
        return found

    def number(self, key: str) -> int:
        """The whole number under this key."""
        if not isinstance(found := self[key], int):
            raise Fault(f"The answer of InfluxDB has {found!r} as {key!r}: {OTHER}")
        return found

    def objects(self, key: str) -> list[Answer]:
        """The objects in the list under this key; none where it is null."""
        found = self[key]
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(one, Answer) for one in found):
            raise Fault(f"The answer of InfluxDB has no objects in {key!r}: {OTHER}")
        return found


class Here(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: InfluxDB sends none, and a token is nothing for another address."""

    def redirect_request(self, *_: object) -> None:
        return None


class Store:
    """InfluxDB's HTTP interface. ``headers`` say who asks.

    :raises Fault: the address is none
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if not re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[^/\s:@\[\]]+)(:\d+)?(/[^\s?#]*)?", self._url):
            raise Fault(f"INFLUX_HOST: {url!r} is no address: write for instance http://influxdb:8086", 2)
        self.headers: dict[str, str] = {}
        # Docker hands the host's proxy to containers (~/.docker/config.json), and the proxy does not know the store.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Here)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """The status, the answer (JSON where it is, else text) and the headers, of a refusal as well.

        :raises Fault: there was no answer
        """
        url = self._url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        asking = dict(self.headers if headers is None else headers)
        try:
            request = urllib.request.Request(url, data, asking, method=method)  # noqa: S310 - the address is compose.yaml's
            try:
                answer = self._opener.open(request, timeout=TIMEOUT)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                status, text, found = answer.status, answer.read(), answer.headers
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
            raise Fault(
                f"InfluxDB does not answer at {self._url}: {reason}. See `docker compose logs influxdb`"
            ) from None
        with contextlib.suppress(ValueError):
            return status, json.loads(text, object_hook=Answer), found
        return status, text.decode(errors="replace"), found

    def get(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Answer:
        """The answer to a request that has to succeed; it is empty where nothing was to be told (204).

        :raises Fault: it did not
        """
        status, answer, _ = self.ask(method, path, body, query=query)
        if status < 300 and isinstance(answer, Answer):
            return answer
        if status == 204:
            return Answer()
        raise Fault(f"InfluxDB answers {method} {path} with {status}: {reason_of(answer)}")

    def wait(self, seconds: float) -> None:
        """Return when the store is ready.

        :raises Fault: it is not, after this time
        """
        end = time.monotonic() + seconds
        while True:
            try:
                status, answer, _ = self.ask("GET", "/health")
                if status == 200:
                    return
                fault = Fault(f"InfluxDB is not well: {reason_of(answer)}. See `docker compose logs influxdb`")
            except Fault as error:
                fault = error
            if time.monotonic() > end:
                raise fault
            time.sleep(0.2)

    def signed_in(self, user: str, password: str) -> dict[str, str] | None:
        """The headers of somebody who has signed in with this password, or nothing where it is refused."""
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        status, answer, found = self.ask("POST", "/api/v2/signin", headers={"Authorization": f"Basic {basic}"})
        if status == 401:
            return None
        if status >= 300:
            raise Fault(f"InfluxDB answers the sign-in of {user} with {status}: {reason_of(answer)}")
        return {"Cookie": str(found["Set-Cookie"]).partition(";")[0]}


def reason_of(answer: Any) -> str:
    """What InfluxDB says is wrong, in one line."""
    text = str(answer.get("message") or answer) if isinstance(answer, dict) else str(answer)
    return " ".join(text.split())[:200] or "nothing"


def with_token(token: str) -> dict[str, str]:
    """The header of who has this token. One that no header can carry, as out of a damaged file, is refused as a wrong one is."""
    return {"Authorization": f"Token {token if token.isascii() and token.isprintable() else 'none'}"}
