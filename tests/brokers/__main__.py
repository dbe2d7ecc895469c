"""``python -m tests.brokers [NAMES]``: get, run, measure and try each broker, and write docs/brokers.md; 1 if one failed."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.brokers import page
from tests.brokers.getting import NotHadError
from tests.brokers.kinds import KINDS
from tests.brokers.measured import measured


def main(names: list[str]) -> int:
    """Run those with these names, or all."""
    unknown = set(names) - {kind.name for kind in KINDS}
    if unknown:
        sys.stderr.write(f"no broker is called {', '.join(sorted(unknown))}: {', '.join(k.name for k in KINDS)}\n")
        return 2
    code = 0
    for kind in KINDS:
        if names and kind.name not in names:
            continue
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix=f"psu-{kind.name}-") as folder:
                result = measured(kind, Path(folder), build=True)
        except NotHadError as error:
            sys.stdout.write(f"{kind.name}: skipped, {error}\n")
            continue
        except AssertionError as error:
            sys.stdout.write(f"{kind.name}: failed, {error}\n")
            code = 1
            continue
        page.save({**page.load(), kind.name: result})
        told = "; ".join([*result.missing, *result.faults]) or "nothing is missing"
        sys.stdout.write(f"{kind.name} {result.version}, {time.monotonic() - began:.0f} s: {told}\n")
        sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
