"""The end of a script of the stack: an exit code, and one line on what kept it from its work."""

from __future__ import annotations

import pytest

from scripts.common import Fault, finished


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Fault("there is no such name", 1), 1, "there is no such name\n"),
        (PermissionError(13, "Permission denied", "secrets/x"), 2, "secrets/x: Permission denied. Run it again\n"),
        (BrokenPipeError(32, "Broken pipe"), 2, "Broken pipe. Run it again\n"),
        (KeyboardInterrupt(), 1, "Interrupted. Run it again\n"),
    ],
)
def test_a_script_that_fails_says_why_and_what_to_do(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    assert finished(work, then="Run it again") == code
    assert capsys.readouterr().err == told


def test_a_script_has_the_exit_code_of_its_work() -> None:
    assert [finished(lambda: 1), finished(lambda: None)] == [1, 0]
