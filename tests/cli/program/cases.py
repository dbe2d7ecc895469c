"""A command of each kind, and the exit code that it has where nothing is in its way."""

from __future__ import annotations

from tests.commandline import ROOT

_CONFIG = ["--config", "good.yaml"]
_SERIES = str(ROOT / "agent" / "instruments" / "catalogue" / "series" / "keysight" / "e36300.yaml")
#: Nobody is at its addresses. The name has characters that some terminals do not have.
GOOD = """\
settings: {agent: x, state_dir: state, mqtt: {host: 127.0.0.1, port: 1}}
units: [{name: psu1, model: E36313A, uri: 'TCPIP::127.0.0.1::1::SOCKET', channels: {1: {name: Prüfling Ω→, voltage_limit: 1}}}]
"""
BAD = "settings: {agent: 'a b', Ω: 5}\nunits: []\n"

COMMANDS: dict[str, list[str]] = {
    "version": ["--version"],
    "help": ["--help"],
    "models": ["models"],
    "schema": ["schema"],
    "man": ["man"],
    "completion": ["completion", "bash"],
    "check": ["check", "good.yaml"],
    "check json": ["check", "good.yaml", "--json"],
    "check connect": ["check", "good.yaml", "--connect"],
    "check bad": ["check", "bad.yaml"],
    "check bad json": ["check", "bad.yaml", "--json"],
    "run": ["run", "bad.yaml"],
    "get": ["get", *_CONFIG],
    "get json": ["get", *_CONFIG, "--json"],
    "watch": ["watch", *_CONFIG],
    "log": ["log", *_CONFIG],
    "set": ["set", "psu1/1", "--state", "off", *_CONFIG],
    "lease": ["lease", "psu1", "--release", *_CONFIG],
    "takeover": ["takeover", "psu1", *_CONFIG],
    "save": ["save", *_CONFIG],
    "save name": ["save", "psu1/1", "--name", "Ω", "--dry-run", *_CONFIG],
    "restore": ["restore", *_CONFIG],
    "verify": ["verify", "psu1", "--yes", *_CONFIG],
    "series": ["series", "try", _SERIES, "TCPIP::127.0.0.1::1::SOCKET"],
    "simulate": ["simulate", "--model", "none"],
    "demo": ["demo", "--port", "0"],
    "usage": ["get", "--nope"],
    "nonsense": ["frob"],
}
#: 0 where it is not here.
CODES = {
    "check connect": 1,
    **dict.fromkeys(["check bad", "check bad json", "run", "get", "get json", "watch", "log", "set", "lease"], 2),
    **dict.fromkeys(["takeover", "save", "restore", "verify", "series", "simulate", "demo", "usage", "nonsense"], 2),
}
#: Commands that print before they end, so that it may be the output which ends them; `save` only tells of what it does.
PRINTING = {name for name in COMMANDS if not CODES.get(name)} - {"save name"} | {"check connect", "series"}
ENVIRONMENT = {
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
}
