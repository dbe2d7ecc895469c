from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.passwords import PasswordFileError, read_password


@pytest.mark.parametrize(
    ("content", "password"),
    [(b"s3cret", "s3cret"), (b" a b \r\n", " a b "), ("ü\n\n".encode(), "ü"), (b"x" * 65535, "x" * 65535)],
)
def test_the_line_end_is_no_part_of_it(content: bytes, password: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    found = read_password(tmp_path / "secret")
    assert found.get_secret_value() == password
    assert password not in repr(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\r\n", "is empty"),
        (b"\xff", "is no text"),
        (b"x" * 65536, "is longer than the 65535 bytes"),
    ],
)
def test_a_file_without_a_password(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(PasswordFileError, match=message):
        read_password(tmp_path / "secret")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_password(tmp_path / "secret")


@pytest.mark.parametrize(
    "content",
    [
        b"gr\xc3\xb6\xc3\x9fe\xe2\x82\xac$$",
        b"\xef\xbb\xbfgr\xc3\xb6\xc3\x9fe\xe2\x82\xac$$",
        b"\xef\xbb\xbfgr\xc3\xb6\xc3\x9fe\xe2\x82\xac$$\r\n",
        "\ufeffgröße€$$\r\n".encode("utf-16-le"),
        "\ufeffgröße€$$\n".encode("utf-16-be"),
    ],
)
def test_a_password_file_from_any_editor(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert read_password(file).get_secret_value() == "größe€$$"
