"""`settings.series`: series files of the user, and what a broken one does to the units."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from agent import config
from agent.config import ConfigError
from agent.instruments.driver import DriverError
from agent.instruments.factory import make_driver
from agent.service.units import Difference

SHIPPED = files("agent.instruments.catalogue") / "series" / "keysight" / "e36300.yaml"


def own_series(name: str = "Bench One", model: str = "B1-30") -> str:
    text = SHIPPED.read_text(encoding="utf-8").replace("series: E36300", f"series: {name}")
    return text.replace("E36313A", model).replace("E36312A", f"{model}2").replace("E36311A", f"{model}1")


def written(folder: Path, series: str, *models: str) -> Path:
    file = folder / "psu-agent.yaml"
    units = "\n".join(
        f"  - {{name: psu{number}, model: '{model}', uri: 'TCPIP::192.0.2.{number}::INSTR'}}"
        for number, model in enumerate(models, 1)
    )
    file.write_text(f"settings:\n  mqtt: {{}}\n{series}\nunits:\n{units}\n")
    return file


@pytest.mark.parametrize("given", ["mine.yaml", "[mine.yaml]", "[sub]", "[sub/../mine.yaml]"])
def test_a_file_or_a_folder_beside_the_configuration(tmp_path: Path, given: str) -> None:
    folder = tmp_path / "own"
    (folder / "sub").mkdir(parents=True)
    (folder / ("sub" if given == "[sub]" else "") / "mine.yaml").write_text(own_series())
    read = config.load(written(folder, f"  series: {given}", "B1-30", "E36313A"))
    assert [unit.candidates[0].series.name for unit in read.units] == ["Bench One", "E36300"]
    assert read.series_faults == ()
    driver = make_driver(read.units[0], folder)
    assert driver.expected.model == "B1-30"


def test_a_broken_file_stops_only_the_units_that_need_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_series().replace("polls:", "poles:"))
    (tmp_path / "good.yaml").write_text(own_series("Bench Two", "B2-30"))
    read = config.load(written(tmp_path, "  series: [mine.yaml, good.yaml]", "B1-30", "E36313A", "B2-30"))
    assert any(line.startswith(f"{tmp_path / 'mine.yaml'}:") and "poles" in line for line in read.series_faults)
    broken, good, own = (make_driver(unit, tmp_path) for unit in read.units)
    with pytest.raises(DriverError) as error:
        broken.connect()
    assert "'B1-30' is not a supported model" in str(error.value)
    assert f"{tmp_path / 'mine.yaml'}:" in str(error.value)
    broken.close()
    assert [good.expected.model, own.expected.model] == ["E36313A", "B2-30"]
    assert read.backlog_capacity() > 0


def test_a_unit_whose_series_is_not_known_is_not_blamed_for_a_line_that_two_others_cant_share(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_series().replace("polls:", "poles:"))
    file = written(tmp_path, "  series: [mine.yaml]", "B1-30", "Genesys,GEN40-38", "Z+,Z36-6")
    text = file.read_text()
    for number in (1, 2, 3):
        text = text.replace(f"'TCPIP::192.0.2.{number}::INSTR'", f"ASRL/dev/ttyUSB0::INSTR, address: {number}")
    file.write_text(text)
    with pytest.raises(
        ConfigError, match=r"units\[2\]\.model: shares a line with units\[1\], whose series \(Genesys\)"
    ):
        config.load(file)


@pytest.mark.parametrize(
    ("old", "new"), [("polls:", "poles:"), ("polls:", "polls: ]"), ("series: E36300", "series: 'E36300' # mine\n[")]
)
def test_a_broken_file_in_the_place_of_a_shipped_series_is_not_replaced_by_that(
    tmp_path: Path, old: str, new: str
) -> None:
    """Its owner has other ranges or another scale than the agent brings."""
    (tmp_path / "mine.yaml").write_text(SHIPPED.read_text(encoding="utf-8").replace(old, new, 1))
    read = config.load(written(tmp_path, "  series: mine.yaml", "E36313A", "E3631A"))
    assert [len(unit.candidates) for unit in read.units] == [0, 1]
    with pytest.raises(DriverError, match=r"'E36313A' is not a supported model; .*mine\.yaml:"):
        make_driver(read.units[0], tmp_path).connect()
    (tmp_path / "mine.yaml").write_text(SHIPPED.read_text(encoding="utf-8"))
    assert len(config.load(tmp_path / "psu-agent.yaml").units[0].candidates) == 1


def test_nobody_has_a_series_that_stands_in_two_files(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(own_series("E36300", "B1-30"))
    read = config.load(written(tmp_path, "  series: [one.yaml, two.yaml]", "B1-30", "E36313A", "E3631A"))
    (fault,) = read.series_faults
    assert fault == (
        f"{tmp_path / 'two.yaml'}:1: series: E36300 stands in another file of the user, too; give one of them another name"
    )
    assert [len(unit.candidates) for unit in read.units] == [0, 0, 1]


@pytest.mark.parametrize("name", ["not-there.yaml", "empty", "/dev/zero"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    read = config.load(written(tmp_path, f"  series: [{name}]", "E36313A"))
    (line,) = read.series_faults
    assert line.startswith(f"{tmp_path / name}: ")


def test_an_unknown_model_is_a_fault_where_all_files_are_sound(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_series())
    with pytest.raises(ConfigError, match="'B7' is not a supported model"):
        config.load(written(tmp_path, "  series: [mine.yaml]", "B7"))


def test_a_model_of_two_series_is_told_with_both(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_series("Bench One", "E36313A"))
    file = written(tmp_path, "  series: [mine.yaml]", "E36313A")
    with pytest.raises(ConfigError, match="write 'Bench One,E36313A' or 'E36300,E36313A'"):
        config.load(file)
    read = config.load(written(tmp_path, "  series: [mine.yaml]", "Bench One,E36313A"))
    assert read.units[0].candidates[0].series.name == "Bench One"


@pytest.mark.parametrize("wrong", ["5", "{a: b}", "[5, [a]]"])
def test_what_is_no_list_of_files(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"psu-agent.yaml:3: settings.series"):
        config.load(written(tmp_path, f"  series: {wrong}", "E36313A"))


def test_a_series_that_changed_changes_its_units_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_series())
    file = written(tmp_path, "  series: [mine.yaml]", "B1-30", "E36313A")
    older = config.load(file)
    assert not Difference.between(older, config.load(file))
    (tmp_path / "mine.yaml").write_text(own_series().replace("OUTP? {list}", "OUTP:STAT? {list}"))
    newer = config.load(file)
    assert Difference.between(older, newer).changed == {"psu1"}
    assert older.restart_needed(newer) == []
    (tmp_path / "mine.yaml").write_text("series: [")
    broken = config.load(file)
    assert Difference.between(newer, broken).changed == {"psu1"}
    assert Difference.between(broken, newer).changed == {"psu1"}


def test_series_of_an_older_file_are_gone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_series())
    config.load(written(tmp_path, "  series: [mine.yaml]", "B1-30"))
    with pytest.raises(ConfigError, match="not a supported model"):
        config.load(written(tmp_path, "", "B1-30"))
