"""Links by pyvisa, most of them over pyvisa-py with sockets of our own.

pyvisa-py is loaded here. It loads zeroconf where that is installed, to look for instruments: 7 MB that an agent, which never
looks, does not need. `agent.instruments.scan`, which does look, has loaded zeroconf before.
"""

from __future__ import annotations

import sys

_loaded = "zeroconf" in sys.modules
if not _loaded:
    sys.modules["zeroconf"] = None  # type: ignore[assignment]
try:
    import pyvisa_py  # noqa: F401
finally:
    if not _loaded:
        del sys.modules["zeroconf"]
