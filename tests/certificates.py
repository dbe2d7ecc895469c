"""Certificates for tests, made by openssl: a CA, a server for localhost, a client."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def make(folder: Path) -> Certificates:
    """``ca.crt``, ``server.crt`` for localhost, ``client.crt``, their keys, and ``other.crt``, another CA."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        openssl("req", "-x509", *key, "-subj", f"/CN=test {name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    for name, extension in (("server", "subjectAltName=DNS:localhost"), ("client", "keyUsage=digitalSignature")):
        openssl("req", *key[:5], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text(extension)
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
    for file in folder.iterdir():
        file.chmod(0o644)  # for a broker that runs as another user
    return Certificates(folder)
