"""A supply in a file, and the program that speaks for it."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

#: A supply in a file. `-S -E` starts in a third of the time.
_PROGRAM = f"""#!{sys.executable} -SE
import json, os, sys, time
place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "supply.json")
verb, *arguments = sys.argv[1:]
with open(place + ".log", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
supply = json.load(open(place))
fault = supply.get("faults", {{}}).get(verb)
if fault:
    exec(fault)
if verb == "ping":
    sys.exit(0 if supply["there"] else "nobody there")
elif verb == "get":
    print(json.dumps(supply["channels"]))
elif verb == "set":
    index, field, value = arguments
    channel = next(c for c in supply["channels"] if c["index"] == int(index))
    channel[field] = value == "1" if field == "state" else float(value)
    channel["voltage"] = channel.get("voltage_limit", 5.0) if channel["state"] else 0.0
    with open(place + ".new", "w") as new:
        json.dump(supply, new)
    os.replace(place + ".new", place)
"""

RELAY = {"index": 1, "name": "RELAY", "voltage": 0.0, "current": 0.25, "state": False}
LAB = {
    "index": 2,
    "name": "LAB",
    "voltage": 0.0,
    "current": 0.5,
    "state": False,
    "voltage_limit": 1.0,
    "current_limit": 0.1,
    "voltage_range": [0, 30],
}


class Programs:
    """A folder with one program, and the supply that it speaks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "supply"
        self.program.write_text(_PROGRAM)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.file = folder / "supply.json"
        self.write(there=True, channels=[RELAY, LAB], faults={})

    def write(self, **changes: Any) -> None:
        data = json.loads(self.file.read_text()) if self.file.exists() else {}
        new = self.file.with_suffix(".test")
        new.write_text(json.dumps(data | changes))
        new.replace(self.file)

    def fault(self, verb: str, code: str) -> None:
        self.write(faults={verb: code})

    def channel(self, index: int) -> dict[str, Any]:
        return next(c for c in json.loads(self.file.read_text())["channels"] if c["index"] == index)

    def runs(self, verb: str) -> list[str]:
        lines = Path(f"{self.file}.log").read_text().splitlines()
        return [line for line in lines if line.split()[0] == verb]

    def unit(self, **more: Any) -> dict[str, Any]:
        commands = {
            "ping": [str(self.program), "ping"],
            "get_channels": [str(self.program), "get"],
            "set": [str(self.program), "set", "{channel}", "{field}", "{value}"],
            "timeout": 10,
            **more.pop("commands", {}),
        }
        return {"name": "ext", "model": "external", **more, "commands": commands}
