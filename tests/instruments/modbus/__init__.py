"""Supplies that speak Modbus: frames on paper, and units of the simulator on real lines."""

import pytest

pytest.importorskip("pymodbus", reason="needs the extra `modbus`")
