"""The example's rules for Prometheus, each over a series of scrapes, by Prometheus's own tester of rules."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack.services import tool
from tests.support.processes import ROOT

RULES = ROOT / "examples" / "prometheus" / "server" / "rules.yml"
CHANNEL = 'agent="a", psu="psu1", index="1", name="CH1"'
ON = {f"channel_data_state{{{CHANNEL}}}": "1x200", f"channel_data_current_limit{{{CHANNEL}}}": "2x200"}
CC, CURRENT = f'channel_data_mode{{{CHANNEL}, mode="CC"}}', f"channel_data_current{{{CHANNEL}}}"
HEARD = {'psu_agent_units{agent="a"}': "1x900", 'psu_agent_units_online{agent="a"}': "1x900"}
DROPPED = 'psu_agent_dropped_samples{agent="a"}'


def case(series: dict[str, str], alert: str, at: str, fires: bool, identifier: str) -> Any:
    """Scrapes every 5 s, in Prometheus's notation, and if the alert fires at that time."""
    return pytest.param(series, alert, at, fires, id=identifier)


@pytest.mark.parametrize(
    ("series", "alert", "at", "fires"),
    [
        case({CC: "0x5 1x100"}, "UnexpectedCC", "50s", False, "CC for 20 s"),
        case({CC: "0x5 1x100"}, "UnexpectedCC", "90s", True, "CC for a minute"),
        case({CC: "0x5 1x15 0x100"}, "UnexpectedCC", "120s", False, "CC is over"),
        case({CC: " ".join("10" * 12)}, "UnexpectedCC", "110s", False, "a mode that flips"),
        case({CC.replace("CH1", "LED CC"): "1x100"}, "UnexpectedCC", "90s", False, "meant to be CC"),
        case({CC.replace("CH1", "LED (CC)"): "1x100"}, "UnexpectedCC", "90s", False, "the word in brackets"),
        case({CC.replace("CH1", "VCC"): "1x100"}, "UnexpectedCC", "90s", True, "no word of its own"),
        case(ON | {CURRENT: "1.9x100", CC: "0x100"}, "NearCurrentLimit", "50s", False, "near for 50 s"),
        case(ON | {CURRENT: "1.9x100", CC: "0x100"}, "NearCurrentLimit", "70s", True, "near for a minute"),
        case(ON | {CURRENT: "1.7x100", CC: "0x100"}, "NearCurrentLimit", "300s", False, "not near"),
        case(ON | {CURRENT: "2.0x100", CC: "1x100"}, "NearCurrentLimit", "300s", False, "in CC"),
        case(ON | {CURRENT: "1.9x100"}, "NearCurrentLimit", "300s", True, "a mode that is not told"),
        case(HEARD | {DROPPED: "0x10 7x100"}, "SamplesDropped", "60s", True, "dropped"),
        case(HEARD | {DROPPED: "7x200"}, "SamplesDropped", "900s", False, "dropped before"),
        case(HEARD | {DROPPED: "0x10 _x400 7x200"}, "SamplesDropped", "2100s", True, "dropped in an outage of half an hour"),
        case(HEARD | {DROPPED: "0x10 _x400 7x300"}, "SamplesDropped", "3000s", False, "ten minutes later"),
        case({}, "NothingArrives", "150s", True, "nobody is heard of"),
        case(HEARD, "NothingArrives", "150s", True, "no channel is heard of"),
        case(HEARD | ON, "NothingArrives", "150s", False, "all is well"),
        case({"psu_agent_units": "1x200", "psu_agent_units_online": "0x200"}, "NothingArrives", "150s", False, "all offline"),
    ],
)  # fmt: skip
def test_an_alert(tmp_path: Path, series: dict[str, str], alert: str, at: str, fires: bool) -> None:
    program = tool("promtool", "install the Debian package prometheus")
    # What it says of a test whose alert is wrong is the way to ask: it has no other.
    expected = [{"eval_time": at, "alertname": alert, "exp_alerts": []}]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "5s", "input_series": inputs, "alert_rule_test": expected}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "10s", "tests": [test]}))
    done = subprocess.run([program, "test", "rules", file], capture_output=True, text=True)
    assert (done.returncode == 0, "exp:[" in done.stdout + done.stderr) == (not fires, fires), done
