#!/usr/bin/env python3
"""What containers read of this folder, and may not: told, and put right where it holds no secret. Run by ``make secrets``.

Each container runs as a user of its own, so what is mounted has to be readable for others. After a `git clone` under
umask 077 it is not.

Exit code: 0 when all can be read now, 2 when somebody has to do something.
"""

from __future__ import annotations

import argparse
import stat
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.backup import settings
from scripts.make_secrets import ROOT

#: Folders that come with the project: they are mounted, or go into the image as they are.
SHIPPED = ("mosquitto", "telegraf", "influxdb", "grafana", "backup", "docker", "examples/stack", "examples/prometheus")

READ, ENTER = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH


def unreadable(folder: Path) -> list[Path]:
    """What the group and others may not read in a folder, or not enter, itself among it.

    Both, because a container's user may be in the group of the files, as Grafana's is in that of root: then what others
    may counts for nothing.
    """
    found = []
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            needed = READ | (ENTER if path.is_dir() else 0)
            if path.stat().st_mode & needed != needed:
                found.append(path)
    return found


def open_up(path: Path) -> None:
    path.chmod(path.stat().st_mode | READ | (ENTER if path.is_dir() else 0))


def check(root: Path) -> list[str]:
    """What somebody has to do, one sentence each. The project's own folders are put right."""
    mended = [path for name in SHIPPED if (root / name).is_dir() for path in unreadable(root / name)]
    for path in mended:
        open_up(path)
    if mended:
        print(f"{len(mended)} files and folders may be read by the containers' users now (umask 077?)")
    env = settings(root)
    if "PSU_AGENT_CONF" in env and "PSU_AGENT_FOLDER" not in env:
        gone = "PSU_AGENT_CONF is gone. Write PSU_AGENT_FOLDER, the folder of psu-agent.yaml, in its place"
        return [f"{root / '.env'}: {gone}: of a file alone the agent would not see what an editor or git puts there"]
    if not (folder := env.get("PSU_AGENT_FOLDER")):
        return []
    path = root / folder
    if not (path / "psu-agent.yaml").is_file():
        return [f"{path / 'psu-agent.yaml'} is missing, and PSU_AGENT_FOLDER in {root / '.env'} names its folder"]
    if closed := unreadable(path):
        return [f"The agent's container may not read {closed[0]}: chmod -R go+rX {path}"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    faults = check(parser.parse_args().root)
    print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)
    return 2 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
