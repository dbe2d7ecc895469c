"""Run it: ``python -m tests.fleet --minutes 5``. Exits 1 if a rule was broken, with the seed to do it again."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.fleet.lab import Site
from tests.fleet.random_faults import Run
from tests.support import namespaces


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, help="of an earlier run, to have the same commands and faults again")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and state; default: nowhere")
    arguments = parser.parse_args()
    if (why := namespaces.missing()) is not None:
        print(why, file=sys.stderr)
        return 1
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"faults for {arguments.minutes:g} min with seed {seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="psu-agent-fleet-") as temporary:
        folder = Path(temporary) if arguments.keep is None else arguments.keep.resolve() / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        site = Site()
        try:
            run = Run(site, folder, seed)
            try:
                run.run(arguments.minutes * 60)
            finally:
                run.close()
        finally:
            site.close()
    for what, count in sorted(run.counts.items()):
        print(f"{what:<24} {count:>7}")
    if run.violations:
        print(f"a rule was broken: make fleet MINUTES={arguments.minutes:g} SEED={seed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
