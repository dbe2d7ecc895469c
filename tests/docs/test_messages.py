"""The pages show messages, codes and configurations: they are what the agent publishes, answers and takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from agent.protocol.commands import parse_command
from agent.protocol.errors import ErrorCode
from agent.protocol.messages import ChannelState, Event, Metrics, Response
from agent.protocol.quantities import COMMANDED
from tests.commandline import invoke

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/mqtt.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def objects(pattern: str) -> list[dict[str, Any]]:
    """The JSON objects of the lines on which a pattern is found."""
    lines = [line for line in PAGE.splitlines() if re.search(pattern, line)]
    assert lines
    return [json.loads(line[line.index("{") :]) for line in lines]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(r"^psu/\S+/state \{", ChannelState), (r"^psu/\S+/event \{", Event), (r"/metrics \{", Metrics)],
)
def test_a_message_has_the_fields_that_are_published(
    pattern: str, message: type[ChannelState | Event | Metrics]
) -> None:
    for shown in objects(pattern):
        names = {field.serialization_alias or name for name, field in message.model_fields.items()}
        assert set(shown) == names


def test_a_response_is_one_that_the_agent_makes() -> None:
    for shown in objects(r'^\{"id"'):
        response = Response.model_validate(shown)
        assert json.loads(response.to_json()) == shown


def test_every_code_is_explained() -> None:
    for code in get_args(ErrorCode):
        assert re.search(rf"^\|[^|]*`{code}`[^|]*\|", PAGE, re.MULTILINE), code


def test_every_field_is_explained() -> None:
    for field in (*COMMANDED, "id", "expires_at"):
        assert re.search(rf"^\|[^|]*`{field}`[^|]*\|", PAGE, re.MULTILINE), field


@pytest.mark.parametrize("payload", re.findall(r"-t psu/\S+/set (?:-e \S+ )?-m '([^']+)'", README + PAGE))
def test_a_command_that_is_shown_is_understood(payload: str) -> None:
    assert parse_command(payload.encode()).fault is None


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md"])
def test_a_configuration_that_is_shown_has_no_fault(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # One that is named is shown for its faults, which `test_commands` looks at.
    shown_ones = re.findall(r"^```yaml\n(?!# \S+\.yaml\n)(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown_ones
    for shown in shown_ones:
        file = tmp_path / "psu-agent.yaml"
        # Without the files that are on the user's disk.
        file.write_text(re.sub(r"^ +(password_file|tls):.*\n", "", shown, flags=re.MULTILINE))
        result = invoke("check", str(file))
        assert result.exit_code == 0, result.output
