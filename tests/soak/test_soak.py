"""The soak for a moment: that it runs, finds nothing, and has something to look at."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.lab import needs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks at the agent through /proc")
def test_soak() -> None:
    needs("mosquitto")
    run = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", "0.2", "--units", "3", "--seed", "6", "--pace", "5"],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    lines = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in run.stdout.splitlines() if "|" in line}
    assert lines["violations in all"] == "0"
    delivered = re.match(r"\d+", lines["commands delivered to units"])
    assert delivered is not None
    assert int(delivered[0]) > 10
