"""Takes each protection away, one at a time, and looks that its tests fail: `python -m tests.protections [DANGER ...]`.

It works in a copy of the tree. A protection whose tests pass without it is named, and the exit code is 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.protections import ROOT, Protection, protections

#: s by which a changed file is younger: one of the same size and second is taken for the one that Python has compiled.
_YOUNGER = 10.0


def has_a_test(protection: Protection, tree: Path) -> bool:
    """True if a test fails without it."""
    file = tree / protection.file
    text = file.read_text(encoding="utf-8")
    file.write_text(protection.taken_away(text), encoding="utf-8")
    os.utime(file, (time.time() + _YOUNGER,) * 2)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *protection.tests],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    file.write_text(text, encoding="utf-8")
    os.utime(file, (time.time() + 2 * _YOUNGER,) * 2)
    # A file that is no series file any more makes every test fail: that shows nothing.
    if done.returncode not in (0, 1) or "SeriesFileError: " in done.stdout:
        raise SystemExit(f"{protection.file}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
    return done.returncode == 1


def main(dangers: list[str]) -> int:
    """Try the protections against these dangers, or against all; 0, or 1 if one has no test."""
    chosen = [one for one in protections() if not dangers or str(one.danger) in dangers]
    missing = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        for one in chosen:
            is_tested = has_a_test(one, tree)
            missing += not is_tested
            outcome = "a test fails" if is_tested else "NO TEST FAILS"
            print(f"{one.danger:>2} {outcome}: {one.file}: {' '.join(one.old.split())}", flush=True)
    print(f"{len(chosen)} protections, {missing} without a test")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
