"""The names that completion knows: from a real broker, from the configuration, and in what time."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.completing import fleet
from agent.cli.completing.answering import VARIABLE, answer
from agent.cli.main import cli
from agent.local.broker import LocalBroker
from tests.commandline import psu_agent
from tests.lab import PATIENCE, Observer, wait_until
from tests.properties import examples


def info(unit: str, agent: str, *names: str) -> bytes:
    channels = [{"index": index, "name": name} for index, name in enumerate(names, 1)]
    return json.dumps({"psu": unit, "agent": agent, "channels": channels}).encode()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with LocalBroker(tmp_path_factory.mktemp("broker")) as broker:
        observer = Observer(broker.port)
        for topic, payload in {
            "psu/psu1/info": info("psu1", "bench1", "VDD 3.3", "CH2", "a\tb", "c\x1b[31m", " "),
            "psu/psu2/info": info("psu2", "bench2", "CH1"),
            "psu/evil/info": b"\xff{",
            "psu/evil2/info": b'{"psu": ["x"], "channels": 5}',
            "psu/evil3/info": info("evil\nrm -rf", "a\x07", "CH1"),
            "lab/psu9/info": info("psu9", "lab", "CH1"),
        }.items():
            observer._client.publish(topic, payload, qos=1, retain=True)
        wait_until(lambda: len(observer.received) == 6, "the infos")
        observer.close()
        yield f"mqtt://127.0.0.1:{broker.port}"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "PATIENCE", 20.0)  # the machine is shared
    monkeypatch.setattr(fleet, "_FIRST", 2.0)


def words(*typed: str) -> list[str]:
    """The values that zsh is told."""
    text = answer(cli, {VARIABLE: "zsh_complete", "_PSU_AGENT_WORDS": "\n".join(typed)})
    return [line.split("\t")[1] if "\t" in line else line for line in text.splitlines()]


def test_the_broker_s_units_and_channels(url: str) -> None:
    at = ("--broker", url)
    assert words("get", *at, "") == ["psu1", "psu2"]
    assert words("set", *at, "") == ["psu1", "psu2", "all"]
    assert words("get", *at, "psu1/") == ["psu1/1", "psu1/VDD 3.3", "psu1/2", "psu1/3", "psu1/4", "psu1/5"]
    assert words("get", *at, "psu1/V") == ["psu1/VDD 3.3"]
    assert words("watch", *at, "psu2") == ["psu2", "psu2/1"]
    assert words("takeover", *at, "psu1", "--agent", "b") == ["bench1", "bench2"]
    assert words("get", *at, "--base-topic", "lab", "") == ["psu9", "psu9/1"]
    assert words("get", *at, "nothing/") == []


def test_units_of_the_configuration_stand_beside_them(url: str, tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.yaml"
    file.write_text(
        "units:\n - {name: own, model: x, channels: {1: {name: A}, 2: }}\n - {name: 5}\n - 7\n - {name: psu1, channels: [1]}\n"
    )
    assert words("get", "--broker", url, "") == ["own", "psu1", "psu2"]
    assert words("get", "--broker", url, "own/") == ["own/1", "own/A", "own/2"]
    assert words("verify", "") == ["own"]
    (tmp_path / "sub").mkdir()
    file.rename(tmp_path / "sub" / "other.yaml")
    assert words("verify", "--config", "sub/other.yaml", "o") == ["own"]


def test_a_program_that_is_asked_prints_nothing_but_the_answer(url: str) -> None:
    def printed() -> str:
        result = psu_agent(
            _PSU_AGENT_COMPLETE="bash_complete", _PSU_AGENT_LINE="psu-agent get psu1/V", _PSU_AGENT_WORD="psu1/V",
            PSU_AGENT_BROKER=url,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    # On a busy machine the broker's part may come too late.
    wait_until(lambda: printed() == "value\tpsu1/VDD\\ 3.3 \n", "the channel")


@pytest.mark.parametrize("value", ["", "tcsh_complete", "bash_complete", "zsh_", "bash"])
def test_what_makes_no_sense_is_answered_with_nothing(value: str) -> None:
    result = psu_agent(_PSU_AGENT_COMPLETE=value)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_broker_that_does_not_answer_is_not_waited_for_longer_than_people_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It accepts connections, and says nothing."""
    monkeypatch.setattr(fleet, "PATIENCE", 0.2)
    monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 2 * PATIENCE)  # what the client alone would wait
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PSU_AGENT_BROKER", f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert words("get", "") == []
        assert time.monotonic() - began < PATIENCE


@given(st.lists(st.text(max_size=8), max_size=5), st.sampled_from(["bash", "zsh", "fish"]))
@examples(30)
def test_any_words_are_answered(typed: list[str], shell: str) -> None:
    environment = {
        VARIABLE: f"{shell}_complete",
        "_PSU_AGENT_WORDS": "\n".join(typed),
        "_PSU_AGENT_LINE": " ".join(typed),
        "_PSU_AGENT_WORD": typed[-1] if typed else "",
        "PSU_AGENT_BROKER": "mqtt://127.0.0.1:1",
    }
    for line in answer(cli, environment).splitlines():
        assert line.split("\t")[0] in ("value", "file", "dir", "space")
