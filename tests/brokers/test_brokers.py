"""Brokers that need no build, measured and tried by the code that makes docs/brokers.md; and the page itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import page
from tests.brokers.cluster import Figures, table
from tests.brokers.getting import NotHadError
from tests.brokers.kinds import KINDS
from tests.brokers.listener import gaps
from tests.brokers.measured import Result, measured
from tests.brokers.program import BrokerProgram
from tests.brokers.small import Aedes, Iotcore, Mosquitto

#: What can go wrong on a broker that this test runs, and is the broker's: it keeps retained messages in memory alone.
FORGETFUL = "it forgets what was retained when it is killed and started again"


@pytest.mark.parametrize(
    ("kind", "version", "faults"), [(Mosquitto, "5", []), (Iotcore, "5", [FORGETFUL]), (Aedes, "3.1.1", [FORGETFUL])]
)
def test_the_agent_on_a_broker(kind: type[BrokerProgram], version: str, faults: list[str], tmp_path: Path) -> None:
    """States, a command and its response, off, an old command, samples over a kill of the broker, the will, a denied command."""
    try:
        result = measured(kind, tmp_path)
    except NotHadError as error:
        pytest.skip(str(error))
    found, trial = result.findings, result.trial
    assert result.faults == faults
    assert (found["version"], trial["protocol"]) == (version, version)
    assert found["mqtt_5"] is (version == "5")
    assert [found[name] for name in ("mqtt_3_1_1", "qos_1", "retained", "will", "may_publish", "may_read")] == [
        True
    ] * 6
    assert found["filters_taken"] >= 8
    done = ("states", "command", "off", "old_command", "newcomer", "samples", "will")
    assert {name: trial[name] for name in done} == dict.fromkeys(done, True)
    assert trial["denial_holds"] is (True if kind.restricts_topics else None)
    # It can be told: each column makes a cell of it.
    for part, make in page.PARTS.items():
        assert kind.title in make([result]), part


def _rows(part: str) -> list[list[str]]:
    begin, end = page.marks(part)
    text = page.PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(("part", "columns"), [("abilities", page.ABILITIES), ("agent", page.TRIALS)])
def test_the_page_has_a_row_for_each_broker(part: str, columns: tuple[page.Column, ...]) -> None:
    """The script knows each broker of the page, and the page has each that the script knows: at least eight."""
    heads, _, *rows = _rows(part)
    assert heads == [title for title, _ in columns]
    assert len(rows) >= 8
    assert all(len(row) == len(heads) for row in rows)
    shown = [row[0] for row in rows]
    assert [kind.title for kind in KINDS] == [name.rpartition(" ")[0] for name in shown]
    assert all(name.rpartition(" ")[2][0].isdigit() for name in shown), "each with its version"


def test_the_page_tells_what_each_lacks() -> None:
    begin, end = page.marks("shortcomings")
    text = page.PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    for kind in KINDS:
        assert f"- **{kind.title}**: " in text


def test_the_page_has_the_figures_of_the_cluster() -> None:
    rows = {row[0]: row[1] for row in _rows("cluster") if len(row) == 2}
    named = table(Figures(samples=1, seconds=1.0)).splitlines()[2:]
    assert [name for line in named if (name := line.split(" | ")[0].removeprefix("| ")) not in rows] == []
    nothing = ("Samples lost", "Commands carried out twice", "Commands never answered")
    assert [rows[name] for name in nothing] == ["0", "0", "0"]


def test_a_part_of_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    result = Result(
        name="mosquitto",
        title="Eclipse Mosquitto",
        version="9.9.9",
        source="",
        access_control="a | b",
        date="2026-11-26",
        findings={
            "mqtt_5": True, "mqtt_3_1_1": False, "qos_1": True, "retained": None, "will": True, "retain_as_published": False,
            "expiry_passed_on": True, "expiry_obeyed": False, "response_topic": True, "told_largest_packet": 2**20,
            "largest_passed": 4096, "smallest_failed": 8192, "failed_how": "closed", "receive_maximum": 20,
            "filters_taken": 8, "filters_failed": 9,
        },
        missing=["it lacks one thing"],
        trial=dict.fromkeys(
            ("protocol", "states", "command", "milliseconds", "off", "old_command", "newcomer", "samples", "kept", "will",
             "denied", "denial_holds")
        ),
        faults=["it forgets"],
    )  # fmt: skip
    file = tmp_path / "brokers.md"
    file.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    page.write(file, {"mosquitto": result})
    text = file.read_text(encoding="utf-8")
    assert (
        "| Eclipse Mosquitto 9.9.9 | yes | no | yes | – | yes | no | passed on, retained ones stay | yes | "
        "4 KiB pass, 8 KiB close the connection | 20 | 8, not 9 |  | 2026-11-26 |"
    ) in text
    assert "a \\| b" in text
    assert "- **Eclipse Mosquitto**: it lacks one thing; it forgets.\n" in text
    assert [title for title in (kind.title for kind in KINDS[1:]) if f"| {title} " in text] == []


def test_missing_numbers_are_found() -> None:
    assert gaps([3, 5, 4, 9, 9, 7]) == [6, 8]
    assert gaps([]) == []
