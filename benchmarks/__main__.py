"""All benchmarks but the soak, and one table in Markdown: ``python -m benchmarks``."""

from __future__ import annotations

from benchmarks import command, fleet, polling, psudaemon
from tests.support.figures import machine, table


def main() -> None:
    print(table([*polling.figures(), *command.figures(), *psudaemon.figures(), *fleet.figures()]))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
