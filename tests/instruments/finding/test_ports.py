"""What is said of USB and GPIB that can't be searched, and answers of portmappers that anybody may send."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa import constants
from pyvisa_py.sessions import Session

from agent.instruments import reasons
from agent.instruments.finding import announced, portmap, ports
from agent.instruments.finding.interfaces import interfaces
from agent.local.installing import how_to_add

NUMBER = b"abcd"


def plug_in(root: Path, device: str = "1-2", **told: str) -> Path:
    """A USB instrument as the kernel shows it; the node in /dev that it is used by."""
    folder = root / "sys/bus/usb/devices"
    values = {"busnum": "1", "devnum": "7", "idVendor": "2a8d", "idProduct": "1102", **told}
    (folder / device).mkdir(parents=True)
    for name, value in values.items():
        (folder / device / name).write_text(value + "\n")
    interface = folder / f"{device}:1.0"
    interface.mkdir()
    (interface / "bInterfaceClass").write_text("fe\n")
    (interface / "bInterfaceSubClass").write_text("03\n")
    node = root / "dev/bus/usb/001/007"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()
    return node


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[object, str], type]:
    """The kinds of resources that pyvisa-py has, to be changed."""
    changed = dict(Session._session_classes)
    monkeypatch.setattr(Session, "_session_classes", changed)
    return changed


def without_usb(classes: dict[tuple[object, str], type]) -> None:
    for key in [key for key in classes if str(key[0]).endswith("usb") or getattr(key[0], "name", "") == "usb"]:
        del classes[key]


def with_usb(classes: dict[tuple[object, str], type], error: Exception | None = None) -> None:
    class Usb(Session):  # type: ignore[misc]
        @staticmethod
        def list_resources() -> list[str]:
            if error is not None:
                raise error
            return ["USB0::0x2A8D::0x1102::MY1::0::INSTR"]

    without_usb(classes)
    classes[constants.InterfaceType.usb, "INSTR"] = Usb


def test_without_libusb_it_is_said_how_to_install_it(classes: dict[tuple[object, str], type], tmp_path: Path) -> None:
    without_usb(classes)
    remarks: list[str] = []
    _, searched = ports.search(remarks, tmp_path)
    assert remarks == [f"USB was not searched: {reasons.without_library('USB')}"]
    assert "sudo apt install libusb-1.0-0" in remarks[0]
    assert "USB" not in searched


@pytest.mark.parametrize("error", [None, ValueError("No backend available"), OSError(errno.EIO, "Input/Output Error")])
def test_an_instrument_that_is_plugged_in_is_named(
    classes: dict[tuple[object, str], type], tmp_path: Path, error: Exception | None
) -> None:
    plug_in(tmp_path, manufacturer="Keysight", product="E36312A", serial="MY1")
    if error is None:
        without_usb(classes)
    else:
        with_usb(classes, error)
    remarks: list[str] = []
    ports.search(remarks, tmp_path)
    assert remarks[0].startswith("USB was not searched, and Keysight E36312A MY1 is plugged in: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use all devices")
def test_one_that_the_user_may_not_use(classes: dict[tuple[object, str], type], tmp_path: Path) -> None:
    with_usb(classes)
    plug_in(tmp_path).chmod(0)
    remarks: list[str] = []
    ports.search(remarks, tmp_path)
    assert any("udev rule" in remark and "2a8d:1102" in remark for remark in remarks)


def test_one_whose_node_is_missing_may_not_be_used_either(
    classes: dict[tuple[object, str], type], tmp_path: Path
) -> None:
    with_usb(classes)
    plug_in(tmp_path).unlink()
    remarks: list[str] = []
    names, searched = ports.search(remarks, tmp_path)
    (remark,) = remarks
    assert remark.startswith("an instrument (2a8d:1102) on USB may not be used by this user (")
    assert "70-psu-agent.rules" in remark
    assert "USB0::0x2A8D::0x1102::MY1::0::INSTR" in names
    assert "USB" in searched


def test_all_is_well_with_usb_and_no_word_is_said_of_gpib(
    classes: dict[tuple[object, str], type], tmp_path: Path
) -> None:
    with_usb(classes)
    plug_in(tmp_path)
    remarks: list[str] = []
    ports.search(remarks, tmp_path)
    assert remarks == []


def test_gpib_without_its_library_is_told_where_a_card_is(
    classes: dict[tuple[object, str], type], tmp_path: Path
) -> None:
    with_usb(classes)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/gpib0").touch()
    if not any(kind.name == "gpib" for (kind, _), _ in Session.iter_session_classes_issues()):
        pytest.skip("a library for GPIB is installed")
    remarks: list[str] = []
    ports.search(remarks, tmp_path)
    (remark,) = remarks
    assert remark.startswith("GPIB was not searched: ")
    assert how_to_add("gpib-ctypes") in remark


def answer(port: int, *, number: bytes = NUMBER, verifier: bytes = b"", outcome: int = 0) -> bytes:
    padded = verifier + bytes(-len(verifier) % 4)
    return number + struct.pack(">IIII", 1, 0, 0, len(verifier)) + padded + struct.pack(">II", outcome, port)


def test_the_answer_of_a_portmapper() -> None:
    assert portmap.serves(answer(1024), NUMBER)
    assert portmap.serves(answer(1024, verifier=b"abcde"), NUMBER)
    assert not portmap.serves(answer(0), NUMBER)
    assert not portmap.serves(answer(1024, number=b"abce"), NUMBER)
    assert not portmap.serves(answer(1024, outcome=1), NUMBER)


@given(
    st.binary(max_size=80) | st.builds(lambda rest: NUMBER + struct.pack(">II", 1, 0) + rest, st.binary(max_size=60))
)
def test_any_answer_is_read(data: bytes) -> None:
    assert portmap.serves(data, NUMBER) in (True, False)


def test_a_firewall_and_a_port_that_is_taken_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No firewall can be set up here without tools that few hosts have; the kernel says EPERM then."""
    usable, _ = interfaces()
    loopback = [one for one in usable if one.address == "127.0.0.1"]

    class Walled(socket.socket):
        def sendto(self, *_: object) -> int:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", Walled)
    remarks: list[str] = []
    assert portmap.search(loopback, 0.1, remarks) == ([], [])
    assert announced.search(loopback, 0.1, remarks) == ([], [])
    assert remarks == [
        "lo (127.0.0.1) was not searched for VXI-11: the firewall of this host forbids it",
        "lo (127.0.0.1) was not searched by mDNS: the firewall of this host forbids it",
    ]
    monkeypatch.undo()

    def taken(**_: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(announced, "Zeroconf", taken)
    remarks.clear()
    assert announced.search(loopback, 0.1, remarks) == ([], [])
    assert "another program keeps port 5353 for itself" in remarks[0]
