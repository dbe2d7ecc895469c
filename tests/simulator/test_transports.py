"""Every transport, through real pyvisa-py."""

from __future__ import annotations

import gc
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import pyvisa
from pyvisa.resources import MessageBasedResource
from pyvisa_py.protocols import hislip

from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.simulator.test_e36300 import POLL
from tests.simulator.wire import Rpc
from tests.support.waiting import wait_until

# pyvisa-py leaves the sockets of sessions that it could not open, and of its port mapper's clients, to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

TRANSPORTS = ["socket", "vxi11", "hislip", "serial"]
VISA_TIMEOUT = pyvisa.constants.StatusCode.error_timeout

Open = Callable[..., MessageBasedResource]


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(vxi11_port=0, hislip_port=0, pty=True, noise=False, loads={1: Resistor(10)}) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared: Simulator) -> Simulator:
    shared.instrument.power_cycle()
    shared.instrument.execute("*CLS")
    shared.instrument.clear_log()
    shared.latency = 0.0
    return shared


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """So that they are warned of here, and not in a test that has nothing to do with it."""
    yield
    gc.collect()


@pytest.fixture
def open_resource(simulator: Simulator) -> Iterator[Open]:
    manager = pyvisa.ResourceManager("@py")
    opened: list[MessageBasedResource] = []

    def open_(name: str, timeout: int = 5000) -> MessageBasedResource:
        resource = manager.open_resource(
            simulator.resources.get(name, name), read_termination="\n", write_termination="\n", open_timeout=5000
        )
        assert isinstance(resource, MessageBasedResource)
        resource.timeout = timeout
        opened.append(resource)
        return resource

    yield open_
    for resource in opened:
        resource.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_queries_and_commands(simulator: Simulator, open_resource: Open, transport: str) -> None:
    resource = open_resource(transport)
    assert resource.query("*IDN?") == simulator.instrument.identity
    resource.write(":VOLT 5,(@1);:OUTP ON,(@1)")
    fields = resource.query(POLL).split(";")
    assert fields[:2] == ["+5.00000E+00,+0.00000E+00,+0.00000E+00", "+5.00000E-01,+0.00000E+00,+0.00000E+00"]
    resource.write("FOO")
    assert resource.query("SYST:ERR?") == '-113,"Undefined header"'
    assert simulator.instrument.log == ["*IDN?", ":VOLT 5,(@1);:OUTP ON,(@1)", POLL, "FOO", "SYST:ERR?"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("termination", ["\n", "\r\n"])
def test_terminations(simulator: Simulator, open_resource: Open, transport: str, termination: str) -> None:
    resource = open_resource(transport)
    resource.write_termination = termination
    assert resource.query("*OPC?") == "1"
    assert simulator.instrument.log == ["*OPC?"]


@pytest.mark.parametrize("transport", ["vxi11", "hislip"])
def test_messages_ended_by_the_protocol_alone(open_resource: Open, transport: str) -> None:
    resource = open_resource(transport)
    resource.write_termination = ""
    resource.read_termination = None
    assert resource.query("*OPC?") == "1\n"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_slow_supply_is_waited_for(simulator: Simulator, open_resource: Open, transport: str) -> None:
    simulator.latency = 0.05
    resource = open_resource(transport)
    assert [resource.query("*OPC?") for _ in range(3)] == ["1", "1", "1"]


@pytest.mark.parametrize("transport", ["socket", "vxi11", "hislip"])
def test_a_supply_that_does_not_answer(simulator: Simulator, open_resource: Open, transport: str) -> None:
    simulator.freeze()
    try:
        resource = open_resource(transport, timeout=100)
        with pytest.raises(pyvisa.VisaIOError) as raised:
            resource.query("*OPC?")
        assert raised.value.error_code == VISA_TIMEOUT
    finally:
        simulator.thaw()
    assert open_resource(transport).query("*OPC?") == "1"


@pytest.mark.parametrize("transport", ["vxi11", "hislip"])
def test_long_messages(open_resource: Open, transport: str) -> None:
    resource = open_resource(transport)
    count = 3000
    answer = resource.query(";".join(["*IDN?"] * count))
    assert answer.count("Keysight Technologies") == count


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_too_long_a_message(open_resource: Open, transport: str) -> None:
    resource = open_resource(transport)
    resource.write(f"DISP:TEXT '{'x' * 70000}'")
    assert resource.query("SYST:ERR?") == '-363,"Input buffer overrun"'


@pytest.mark.parametrize("transport", ["vxi11", "hislip"])
def test_serial_poll(open_resource: Open, transport: str) -> None:
    resource = open_resource(transport)
    assert resource.read_stb() == 0
    resource.write("FOO")
    # HiSLIP's status query goes another way than messages do, and may overtake them.
    assert resource.query("*ESE 32;*SRE 32;*OPC?") == "1"
    assert resource.read_stb() == 4 + 32 + 64
    resource.write("*CLS;*IDN?")
    wait_until(lambda: resource.read_stb() == 16, "the answer to be there")
    assert resource.read().startswith("Keysight")
    assert resource.read_stb() == 0


def test_vxi11_device_clear_drops_what_was_not_read(open_resource: Open) -> None:
    resource = open_resource("vxi11")
    resource.write("*IDN?")
    resource.clear()
    assert resource.query("*OPC?") == "1"
    assert resource.query("SYST:ERR?") == '+0,"No error"'


def test_hislip_device_clear(simulator: Simulator, open_resource: Open) -> None:
    """Before there is an answer: pyvisa-py 0.8.1 fails where one has arrived, since it does not discard it."""
    simulator.freeze()
    resource = open_resource("hislip")
    resource.write("*IDN?")
    resource.clear()
    simulator.thaw()
    assert resource.query("*OPC?") == "1"
    assert resource.query("SYST:ERR?") == '+0,"No error"'
    assert "*IDN?" not in simulator.instrument.log


@pytest.mark.parametrize("transport", ["vxi11", "hislip"])
def test_a_new_message_before_the_answer_was_read(open_resource: Open, transport: str) -> None:
    resource = open_resource(transport)
    resource.write("*IDN?")
    assert resource.query("*OPC?") == "1"
    assert resource.query("SYST:ERR?") == '-410,"Query INTERRUPTED"'


def test_vxi11_read_with_nothing_to_say(open_resource: Open) -> None:
    resource = open_resource("vxi11", timeout=50)
    with pytest.raises(pyvisa.VisaIOError):
        resource.read()
    resource.timeout = 5000
    assert resource.query("SYST:ERR?") == '-420,"Query UNTERMINATED"'


def test_vxi11_reads_in_pieces(open_resource: Open) -> None:
    resource = open_resource("vxi11")
    resource.write("*IDN?")
    assert resource.read_bytes(8) == b"Keysight"
    assert resource.read_raw().startswith(b" Technologies")
    resource.write("VOLT? (@1,2)")
    assert resource.read(termination=",") == "+0.00000E+00"
    assert resource.read() == "+0.00000E+00"


def test_vxi11_trigger(simulator: Simulator, open_resource: Open) -> None:
    resource = open_resource("vxi11")
    resource.write("VOLT:TRIG 2,(@1);MODE STEP,(@1);:INIT (@1)")
    resource.assert_trigger()
    assert resource.query("VOLT? (@1)") == "+2.00000E+00"


def test_vxi11_lock(open_resource: Open) -> None:
    holder, other = open_resource("vxi11"), open_resource("vxi11")
    holder.lock_excl()
    assert holder.query("*OPC?") == "1"
    with pytest.raises(pyvisa.VisaIOError):
        other.query("*OPC?")
    holder.unlock()
    assert other.query("*OPC?") == "1"
    holder.lock_excl()
    holder.close()
    assert other.query("*OPC?") == "1"


def test_vxi11_wrong_device(simulator: Simulator) -> None:
    with pytest.raises(Exception, match="error creating link: 3"):
        pyvisa.ResourceManager("@py").open_resource(
            f"TCPIP::127.0.0.1,{simulator.vxi11_port}::inst7::INSTR", open_timeout=5000
        )


def test_vxi11_abort_ends_a_read(simulator: Simulator) -> None:
    with Rpc(simulator.vxi11_port) as core:
        error, link, abort_port, size = core.call(10, struct.pack(">III", 1, 0, 0) + Rpc.opaque(b"inst0"))
        assert (error, size) == (0, 16384)
        core.send(12, struct.pack(">IIIIII", link, 100, 60000, 0, 0, 0))
        with Rpc(abort_port, program=0x0607B0) as abort:
            assert abort.call(1, struct.pack(">I", link)) == (0,)
            assert abort.call(1, struct.pack(">I", 9999)) == (4,)
        assert core.receive() == (23, 0, 0)


def test_vxi11_refusals(simulator: Simulator) -> None:
    generic = struct.pack(">IIII", 77, 0, 0, 0)
    with Rpc(simulator.vxi11_port) as core:
        assert core.call(0) == ()
        for procedure in (13, 14, 15, 16, 17, 18, 19, 20, 23):
            assert core.call(procedure, generic)[0] == 4, procedure
        assert core.call(11, generic + Rpc.opaque(b"*RST"))[0] == 4
        assert core.call(12, generic + struct.pack(">II", 0, 0))[0] == 4
        for procedure in (22, 25, 26):
            assert core.call(procedure, generic)[0] == 8, procedure
        assert core.status(99, b"") == 3
        assert core.status(11, b"\0\0") == 4
        core.program = 0x12345
        assert core.status(0, b"") == 1
        core.program, core.version = 0x0607AF, 2
        assert core.status(0, b"") == 2


def test_portmapper() -> None:
    host = f"127.0.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
    with ExitStack() as stack:
        try:
            simulator = stack.enter_context(Simulator(host=host, socket_port=None, portmapper=True))
        except PermissionError:
            pytest.skip("port 111 needs a right that this user does not have")
        assert simulator.resources == {"vxi11": f"TCPIP::{host}::inst0::INSTR"}
        resource: Any = pyvisa.ResourceManager("@py").open_resource(simulator.resource, open_timeout=5000)
        assert resource.query("*IDN?").rstrip() == simulator.instrument.identity
        resource.close()
        for protocol in ("tcp", "udp"):
            with Rpc(111, host=host, program=100000, version=2, protocol=protocol) as portmapper:
                assert portmapper.call(3, struct.pack(">IIII", 0x0607AF, 1, 6, 0)) == (simulator.vxi11_port,)
                assert portmapper.call(3, struct.pack(">IIII", 0x0607AF, 1, 17, 0)) == (0,)
                assert portmapper.call(4)[:5] == (1, 0x0607AF, 1, 6, simulator.vxi11_port)


@pytest.fixture
def connect_hislip(simulator: Simulator) -> Iterator[Callable[[], hislip.Instrument]]:
    opened = []

    def connect() -> hislip.Instrument:
        opened.append(hislip.Instrument("127.0.0.1", port=simulator.hislip_port, timeout=5.0))
        return opened[-1]

    yield connect
    for instrument in opened:
        instrument.close()


def ask(instrument: hislip.Instrument, message: bytes) -> bytes:
    instrument.send(message)
    return bytes(instrument.receive())


def test_hislip_small_messages(connect_hislip: Callable[[], hislip.Instrument], simulator: Simulator) -> None:
    client = connect_hislip()
    client.max_msg_size = 64
    assert client.max_msg_size == 1 << 20
    client._max_msg_size = 64
    answer = ask(client, b";".join([b"*IDN?"] * 20))
    assert answer.decode() == ";".join([simulator.instrument.identity] * 20) + "\n"


def test_hislip_locks(connect_hislip: Callable[[], hislip.Instrument]) -> None:
    first, second, third = connect_hislip(), connect_hislip(), connect_hislip()
    assert first.async_lock_info() == 0
    assert first.async_lock_request(1.0) == "success"
    assert first.async_lock_info() == 1
    assert second.async_lock_request(0.0) == "failure"
    second.send(b"*OPC?")
    assert ask(first, b"*OPC?") == b"1\n"
    assert first.async_lock_release() == "success"
    # The lock held second's message back, and no longer does.
    assert second.receive() == b"1\n"
    assert second.async_lock_request(0.0, "key") == "success"
    assert third.async_lock_request(0.0, "key") == "success"
    assert first.async_lock_request(0.0, "other") == "failure"
    assert first.async_lock_request(0.0) == "failure"
    assert second.async_lock_release() == "success shared"
    assert third.async_lock_release() == "success shared"
    assert third.async_lock_release() == "error"


def test_hislip_a_lock_ends_with_its_session(connect_hislip: Callable[[], hislip.Instrument]) -> None:
    first, second = connect_hislip(), connect_hislip()
    assert first.async_lock_request(1.0) == "success"
    second.send(b"*OPC?")
    first.close()
    assert second.receive() == b"1\n"


def test_hislip_remote_local_and_trigger(connect_hislip: Callable[[], hislip.Instrument], simulator: Simulator) -> None:
    client = connect_hislip()
    client.async_remote_local_control("enableRemote")
    client.send(b"VOLT:TRIG 2,(@1);MODE STEP,(@1);:INIT (@1)")
    client.trigger()
    assert ask(client, b"VOLT? (@1)") == b"+2.00000E+00\n"


def test_hislip_wrong_device(simulator: Simulator) -> None:
    with pytest.raises(RuntimeError, match="FatalError"):
        hislip.Instrument("127.0.0.1", port=simulator.hislip_port, sub_address="hislip7")


@pytest.mark.parametrize("transport", ["socket", "vxi11", "hislip"])
def test_several_connections_at_once(simulator: Simulator, open_resource: Open, transport: str) -> None:
    resources = [open_resource(transport) for _ in range(4)]
    for number, resource in enumerate(resources):
        resource.write(f"VOLT? ({'@1,2,3'[: 2 + 2 * (number % 3)]})")
    answers = [resource.read() for resource in resources]
    assert [answer.count("+0.0") for answer in answers] == [1, 2, 3, 1]
