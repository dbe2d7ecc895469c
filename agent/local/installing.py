"""How to install what an optional part of psu-agent needs, for the way in which this copy came here."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

#: What the file INSTALLER of the Debian package says. Nothing can be added to that copy.
DEBIAN = "dpkg"
_NAME = "psu-agent"
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def how_to_install(extra: str) -> str:
    """The command that adds an extra of pyproject.toml to this copy of psu-agent, ready to paste into a shell.

    It names the packages that the extra stands for, not ``psu-agent[extra]``: that does for a checkout, a wheel and an image,
    and no index has to know psu-agent. An example: ``/opt/psu-agent/bin/pip install 'pymodbus<3.17,>=3.11'``. A copy from the
    Debian package takes no additions; then the text says what does.
    """
    return how_to_add(*_requirements(extra))


def how_to_add(*requirements: str) -> str:
    """The command that adds packages to this copy of psu-agent, as `how_to_install` has it for those of an extra."""
    packages = " ".join(map(shlex.quote, requirements))
    if _installer() == DEBIAN:
        return f"pip install {packages}, in a psu-agent installed with pip: the Debian package takes no additions"
    return f"{_command()} {packages}"


def _requirements(extra: str) -> list[str]:
    """What the extra adds; the extra of the checkout where the installed description does not know it, as it is older."""
    try:
        declared = metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:
        declared = []
    found = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        if (named := _EXTRA.search(marker)) and named[1] == extra:
            found.append(requirement.strip())
    return found or [f"{_checkout()}[{extra}]"]


def _checkout() -> str:
    root = Path(__file__).resolve().parents[2]
    return str(root) if (root / "pyproject.toml").exists() else "."


def _installer() -> str:
    try:
        return (metadata.distribution(_NAME).read_text("INSTALLER") or "").strip()
    except metadata.PackageNotFoundError:
        return ""


def _command() -> str:
    """What installs into this Python, whatever the shell has on its PATH."""
    beside = Path(sys.prefix) / "bin" / "pip"
    if sys.prefix != sys.base_prefix and beside.exists():
        return f"{shlex.quote(str(beside))} install"
    if importlib.util.find_spec("pip") is not None:
        return f"{shlex.quote(sys.executable)} -m pip install"
    if _installer() == "uv":
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    return f"pip --python {shlex.quote(sys.prefix)} install"
