"""The version comes from git's tag, and there is a sensible one wherever git can't be asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytest.importorskip("hatch_vcs", reason="hatch-vcs is not installed (make sets it up)")

#: All that the version depends on.
FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".git_archival.txt", ".gitattributes")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree without git."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(tree: Path) -> Path:
    """The same tree with one commit, and a tag that is no version."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "first")
    git(tree, "tag", "green11")
    return tree


def version(folder: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SETUPTOOLS_SCM")}
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_tag_is_the_version_and_a_commit_behind_it_is_on_the_way_to_the_next(repository: Path) -> None:
    assert re.fullmatch(r"0\.1\.dev1\+g[0-9a-f]+", version(repository))
    git(repository, "tag", "v0.2.0")
    git(repository, "tag", "green12")
    assert version(repository) == "0.2.0"
    (repository / "README.md").write_text("changed")
    git(repository, "commit", "-qam", "second")
    assert re.fullmatch(r"0\.2\.1\.dev1\+g[0-9a-f]+", version(repository))


def test_a_tree_without_git(tree: Path) -> None:
    assert version(tree) == "0.1.dev0"
    assert version(tree, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_PSU_AGENT="0.3.0") == "0.3.0"
    # As a Dockerfile hands on an argument that nobody gave.
    assert version(tree, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_PSU_AGENT="") == "0.1.dev0"


def test_a_host_without_the_program_git(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v0.2.0")
    assert version(repository, PATH=str(tmp_path)) == "0.1.dev0"


def test_an_archive_made_by_git_knows_its_tag(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v0.2.0")
    git(repository, "archive", "--prefix=unpacked/", "-o", str(tmp_path / "archive.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "archive.tar", tmp_path)
    assert version(tmp_path / "unpacked") == "0.2.0"


def test_a_shallow_clone_without_tags(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(repository, "tag", "v0.2.0", "HEAD~1")
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-tags", repository.as_uri(), "clone")
    assert version(tmp_path / "clone").startswith("0.1.dev")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to others")
def test_a_checkout_of_another_user(repository: Path) -> None:
    """`sudo pip install .`: git itself would refuse to look into it."""
    git(repository, "tag", "v0.2.0")
    for path in [repository, *repository.rglob("*")]:
        os.chown(path, 4711, 4711)
    assert version(repository) == "0.2.0"
