"""`psu-agent run --metrics`: the page for Prometheus beside the daemon."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from agent.local.installing import how_to_install
from agent.service.exposition.address import AddressError, listen

if TYPE_CHECKING:
    from agent.service.daemon import Daemon

Expose: TypeAlias = "Callable[[Daemon], contextlib.AbstractContextManager[None]]"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def prepared(address: str | None) -> Iterator[Expose]:
    """Listen at an address, before anything else is opened; nothing at all where it is None or empty.

    :return: what serves the figures of a daemon for as long as its own context lasts
    :raises AddressError: nothing can listen there, or Prometheus' client library is not installed
    """
    if not address:
        yield lambda daemon: contextlib.nullcontext()
        return
    try:
        from agent.service.exposition.page import Figures, Page
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise AddressError(f"--metrics needs prometheus_client: {how_to_install('metrics')}") from None
    from agent.service.exposition.server import MetricsServer

    @contextlib.contextmanager
    def expose(daemon: Daemon) -> Iterator[None]:
        figures = Figures(
            lambda: daemon.supplies,
            lambda: daemon.metrics.present(daemon.supplies, time.monotonic()),
            lambda: daemon.session.connected,
        )
        host, port, *_ = listener.getsockname()
        shown = f"[{host}]" if ":" in host else host
        with MetricsServer(listener, Page(figures).text):
            log.info("metrics: http://%s:%d/metrics", shown, port)
            yield

    with listen(address) as listener:
        yield expose
