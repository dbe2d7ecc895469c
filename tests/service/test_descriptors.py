"""The limit of open files: raised, never lowered, and a warning where it is too low for the units."""

from __future__ import annotations

import resource

import pytest

from agent.service.descriptors import raise_limit

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, 4096, 4096),
        (4096, 4096, None),
        (UNLIMITED, UNLIMITED, None),
        (256, UNLIMITED, 264),
        (1024, UNLIMITED, None),
    ],
)
def test_the_limit_is_raised_and_never_lowered(
    soft: int, hard: int, raised: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    raise_limit(100)
    assert asked == ([] if raised is None else [(raised, hard)])
    assert not caplog.records


def test_a_limit_that_is_too_low_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 256))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_limit(100)
    assert "LimitNOFILE=264" in caplog.text
