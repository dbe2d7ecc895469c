"""Run it: ``python -m tests.soak --minutes 5``. Exits 1 if a rule was broken, with the seed to do it again."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from pathlib import Path

from tests.soak.report import figures
from tests.soak.run import Soak
from tests.support.figures import machine, table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--units", type=int, default=20)
    parser.add_argument("--seed", type=int, help="of an earlier run, to have the same commands and faults again")
    parser.add_argument("--pace", type=float, default=1.0, help="how many times as often as usual there are faults")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and state; default: nowhere")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"soaking for {arguments.minutes:g} min with seed {seed}", file=sys.stderr, flush=True)
    with contextlib.ExitStack() as stack:
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=arguments.keep.resolve()))
            print(f"logs and state: {folder}", file=sys.stderr)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="psu-agent-soak-")))
        soak = Soak(folder, units=arguments.units, seed=seed, pace=arguments.pace)
        stack.callback(soak.close)
        soak.run(arguments.minutes * 60)
        if soak.completed:
            print(table(figures(soak)))
            print(f"\n{machine()}")
    if soak.violations:
        again = f"make soak MINUTES={arguments.minutes:g} UNITS={arguments.units} SEED={seed}"
        if arguments.pace != 1:
            again += f" PACE={arguments.pace:g}"
        print(f"\n{len(soak.violations)} violations; the same commands and faults again: {again}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
