"""A proxy before InfluxDB that kills the program that asks, at a chosen request: before or after the store has carried it out."""

from __future__ import annotations

import http.client
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class KillingProxy:
    """Hands every request on, and counts them.

    :param port: InfluxDB's
    """

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        #: Called with each request's number, from 1, before (False) and after (True) it was carried out. True ends it there.
        self.passing: Callable[[int, bool], bool] = lambda _number, _is_done: False
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.asked.append(f"{self.command} {self.path}")
                number = len(proxy.asked)
                if proxy.passing(number, False):
                    return
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                headers = {key: value for key, value in self.headers.items() if key in ("Authorization", "Cookie")}
                link.request(self.command, self.path, body, headers)
                answer = link.getresponse()
                text = answer.read()
                link.close()
                if proxy.passing(number, True):
                    return
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key in ("Content-Type", "Set-Cookie"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = _hand_on  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:  # who asked is gone
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kill(
        self, command: list[str], environment: dict[str, str], at: int, is_done: bool, of: Callable[[str], bool]
    ) -> bool:
        """Run a program that asks here, and kill it at its request of this number among those ``of`` a kind.

        :returns: whether it came so far
        """
        self.asked.clear()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        killed = threading.Event()

        def passing(number: int, done: bool) -> bool:
            asked = self.asked[:number]
            is_it = done is is_done and of(asked[-1]) and sum(map(of, asked)) == at
            if is_it:
                killed.set()
                process.kill()
                process.wait()
            return is_it

        self.passing = passing
        text, _ = process.communicate(timeout=60)
        self.passing = lambda _number, _is_done: False
        assert killed.is_set() or process.returncode == 0, text
        return killed.is_set()
