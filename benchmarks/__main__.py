"""All benchmarks, or those that are named, and one table in Markdown: ``python -m benchmarks [NAME …]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import command, fleet, off, plainloop, polling, psudaemon, scale, slowline
from tests.support.figures import Figure, machine, table

_FIGURES: dict[str, Callable[[], list[Figure]]] = {
    "polling": polling.figures,
    "command": command.figures,
    "off": off.figures,
    "psudaemon": psudaemon.figures,
    "plainloop": plainloop.figures,
    "slowline": slowline.figures,
    "fleet": fleet.figures,
    "scale": scale.figures,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_FIGURES)}; default: all")
    names = parser.parse_args().names or list(_FIGURES)
    if unknown := set(names) - set(_FIGURES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(_FIGURES)}")
    print(table([figure for name in names for figure in _FIGURES[name]()]))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
