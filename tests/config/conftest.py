"""A folder with the files that a configuration names, and an environment that names none."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ca.crt", "agent.crt", "agent.key"):
        (tmp_path / name).write_text("PEM")
    (tmp_path / "mqtt-password").write_text("s3cret\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PSU_AGENT_CONF", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
