#!/usr/bin/env python3
"""Opens mounted files that containers may not read, but tells of the agent's configuration and of settings. For ``make secrets``.

Each container runs as a user of its own, so what is mounted has to be readable for others. After a `git clone` under
umask 077 it is not, nor is a secret that somebody has written by hand.

Exit code: 0 when all can be read now, 2 when somebody has to do something.
"""

from __future__ import annotations

import argparse
import shlex
import stat
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import stack_settings
from scripts.common import ROOT, Fault, finished
from scripts.dotenv import configuration, settings

#: Folders that come with the project: they are mounted, or go into the image as they are.
SHIPPED = ("mosquitto", "telegraf", "influxdb", "grafana", "backup", "docker", "examples/stack", "examples/prometheus")
#: What containers mount of secrets/, which itself is for its owner alone.
SECRETS = tuple(f"secrets/{name}" for name in ("agent", "mosquitto", "telegraf", "influxdb", "grafana"))

READ, ENTER = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH


def unreadable(folder: Path) -> list[Path]:
    """The files that the group and others may not read, and the folders that they may not enter: a folder and all below it.

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
    """The things that somebody has to do, one sentence each. The project's own folders and the
    secrets' are put right."""
    mended = [path for name in (*SHIPPED, *SECRETS) if (root / name).is_dir() for path in unreadable(root / name)]
    for path in mended:
        open_up(path)
    if mended:
        print(f"{len(mended)} files and folders may be read by the containers' users now (umask 077?)")
    try:
        env = settings(root)
        folder = configuration(root)
    except Fault as fault:
        return [str(fault)]
    if folder is None:
        if "PSU_AGENT_CONF" not in env:
            return []
        todo = (
            "Make a folder for that file (mkdir config), copy it there under the name psu-agent.yaml, and write "
            "PSU_AGENT_FOLDER=./config in the place of the line"
        )
        return [f"{root / '.env'}: PSU_AGENT_CONF is gone, so {env['PSU_AGENT_CONF']} is not read. {todo}"]
    if not (folder / "psu-agent.yaml").is_file():
        return [f"{folder / 'psu-agent.yaml'} is missing, and PSU_AGENT_FOLDER names its folder"]
    if closed := unreadable(folder):
        return [f"The agent's container may not read {closed[0]}: chmod -R go+rX {shlex.quote(str(folder))}"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    root = parser.parse_args().root

    def work() -> None:
        if faults := [*check(root), *stack_settings.faults(root)]:
            raise Fault("\n".join(faults))

    return finished(work)


if __name__ == "__main__":
    sys.exit(main())
