"""The simulated E36300 supplies: what they answer, what their outputs do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.simulator import E36300, Quirks
from agent.simulator.loads import ConstantCurrent, Resistor, Square, Unregulated

TRANSCRIPT = Path(__file__).with_name("e36300_transcript.txt")
POLL = (
    "MEAS:VOLT? (@1,2,3);:MEAS:CURR? (@1,2,3);:VOLT? (@1,2,3);:CURR? (@1,2,3);:OUTP? (@1,2,3);:VOLT:PROT? (@1,2,3);"
    ":VOLT:PROT:TRIP? (@1,2,3);:CURR:PROT:STAT? (@1,2,3);:CURR:PROT:TRIP? (@1,2,3);"
    ":STAT:QUES:INST:ISUM1:COND?;:STAT:QUES:INST:ISUM2:COND?;:STAT:QUES:INST:ISUM3:COND?"
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supply(clock: Clock) -> E36300:
    return E36300("E36313A", loads={1: Resistor(10)}, noise=False, clock=clock, log_size=100)


def ask(supply: E36300, message: str) -> str:
    answer = supply.execute(message)
    assert answer is not None, f"no answer to {message}: {list(supply.errors)}"
    return answer


def numbers(answer: str) -> list[float]:
    return [float(field) for field in answer.replace(";", ",").split(",")]


def read_transcript() -> list[tuple[int, str, str | None]]:
    exchanges: list[tuple[int, str, str | None]] = []
    for number, line in enumerate(TRANSCRIPT.read_text().splitlines(), 1):
        if line.startswith("> "):
            exchanges.append((number, line[2:], None))
        elif line.startswith("< "):
            assert exchanges, "an answer before the first message"
            sent_at, sent, answer = exchanges[-1]
            assert answer is None, f"line {number}: two answers to one message"
            exchanges[-1] = (sent_at, sent, line[2:])
        else:
            assert not line or line.startswith("#"), f"line {number} is neither sent nor answered"
    return exchanges


def test_transcript(supply: E36300) -> None:
    for line, sent, answer in read_transcript():
        assert supply.execute(sent) == answer, f"line {line}: {sent} (errors: {list(supply.errors)})"
    assert not supply.errors


def test_one_poll_of_everything_is_one_message(supply: E36300) -> None:
    supply.execute(":VOLT 5,(@1);:OUTP ON,(@1)")
    fields = ask(supply, POLL).split(";")
    assert [len(field.split(",")) for field in fields] == [3] * 9 + [1] * 3
    assert fields[0] == "+5.00000E+00,+0.00000E+00,+0.00000E+00"
    assert fields[-3:] == ["+2", "+0", "+0"]
    assert supply.log == [":VOLT 5,(@1);:OUTP ON,(@1)", POLL]
    assert supply.message_count == 2


@pytest.mark.parametrize(
    ("model", "voltages", "currents"),
    [
        ("E36311A", [6.18, 25.75, -25.75], [5.15, 1.03, 1.03]),
        ("E36312A", [6.18, 25.75, 25.75], [5.15, 1.03, 1.03]),
        ("E36313A", [6.18, 25.75, 25.75], [10.3, 2.06, 2.06]),
    ],
)
def test_models(model: str, voltages: list[float], currents: list[float]) -> None:
    supply = E36300(model, serial="MY1", noise=False)
    assert ask(supply, "*IDN?") == f"Keysight Technologies,{model},MY1,1.0.4-1.0.0-1.00"
    assert numbers(ask(supply, "VOLT? MAX,(@1:3)")) == voltages
    assert numbers(ask(supply, "CURR? MAX,(@1:3)")) == currents
    supply.execute("VOLT MAX,(@1:3);CURR MAX,(@1:3)")
    assert numbers(ask(supply, "VOLT? (@1:3);CURR? (@1:3)")) == voltages + currents


def test_unknown_model() -> None:
    with pytest.raises(ValueError, match="E36311A, E36312A, E36313A"):
        E36300("E3631A")


def test_the_negative_output_of_the_e36311a() -> None:
    supply = E36300("E36311A", noise=False, loads={3: Resistor(50)})
    supply.execute("VOLT -12,(@3);:OUTP ON,(@3)")
    assert not supply.errors
    assert numbers(ask(supply, "VOLT? (@3);:MEAS:VOLT? (@3);:MEAS:CURR? (@3)")) == [-12, -12, 0.24]
    supply.execute("VOLT 5,(@3)")
    assert supply.errors.pop() == (-222, "Data out of range")
    supply.execute(":VOLT 8,(@2);:OUTP:TRAC ON")
    assert numbers(ask(supply, "VOLT? (@2,3)")) == [8, -8]
    supply.execute("VOLT -9,(@3)")
    assert numbers(ask(supply, "VOLT? (@2,3)")) == [9, -9]


def test_nothing_is_set_if_one_channel_refuses(supply: E36300) -> None:
    supply.execute("VOLT 6.5,(@2,1,3)")
    assert supply.errors.pop()[0] == -222
    assert numbers(ask(supply, "VOLT? (@1:3)")) == [0, 0, 0]
    supply.execute("APPL CH1,3,11")
    assert numbers(ask(supply, "VOLT? (@1);CURR? (@1)")) == [0, 10]


def test_a_trip_by_overtemperature(supply: E36300) -> None:
    supply.execute(":VOLT 5,(@1);:OUTP ON,(@1)")
    supply.trip(1, "OTP")
    assert (
        ask(supply, "OUTP? (@1);:VOLT:PROT:TRIP? (@1);:CURR:PROT:TRIP? (@1);:STAT:QUES:INST:ISUM1:COND?") == "0;0;0;+16"
    )
    supply.execute("VOLT:PROT:CLE (@1);:CURR:PROT:CLE (@1)")
    assert ask(supply, "STAT:QUES:INST:ISUM1:COND?") == "+16"
    supply.execute("OUTP:PROT:CLE (@1)")
    assert ask(supply, "OUTP? (@1);:STAT:QUES:INST:ISUM1:COND?") == "1;+2"
    with pytest.raises(ValueError, match="OVP, OCP or OTP"):
        supply.trip(1, "XXX")  # type: ignore[arg-type]


@pytest.mark.parametrize("restore", [True, False])
def test_what_clearing_a_trip_does_to_the_output(restore: bool) -> None:
    supply = E36300(noise=False, restore_after_clear=restore)
    supply.execute(":VOLT 5,(@1);:OUTP ON,(@1)")
    supply.trip(1, "OVP")
    supply.execute("OUTP:PROT:CLE (@1)")
    assert ask(supply, "OUTP? (@1)") == ("1" if restore else "0")


def test_an_output_that_was_off_stays_off_when_a_trip_is_cleared(supply: E36300) -> None:
    supply.trip(2, "OCP")
    supply.execute("OUTP:PROT:CLE (@2)")
    assert ask(supply, "OUTP? (@2)") == "0"


def test_a_trip_is_cleared_by_reset_and_not_by_cls(supply: E36300) -> None:
    supply.trip(1, "OVP")
    supply.execute("*CLS")
    assert ask(supply, "VOLT:PROT:TRIP?") == "1"
    supply.execute("*RST")
    assert ask(supply, "VOLT:PROT:TRIP?") == "0"


def test_ovp_may_be_off(supply: E36300) -> None:
    supply.execute(":VOLT:PROT 2,(@1);:VOLT:PROT:STAT OFF,(@1);:VOLT 5,(@1);:OUTP ON,(@1)")
    assert ask(supply, "VOLT:PROT:TRIP? (@1);:OUTP? (@1)") == "0;1"
    supply.execute("VOLT:PROT:STAT ON,(@1)")
    assert ask(supply, "VOLT:PROT:TRIP? (@1);:OUTP? (@1)") == "1;0"


@pytest.mark.parametrize("start", ["SCH", "CCTR"])
def test_ocp_with_a_delay(supply: E36300, clock: Clock, start: str) -> None:
    supply.execute(f":CURR:PROT:STAT ON,(@1);:CURR:PROT:DEL 0.5,(@1);:CURR:PROT:DEL:STAR {start},(@1)")
    supply.execute(":VOLT 5,(@1);:CURR 0.1,(@1);:OUTP ON,(@1)")
    clock.now += 0.4
    assert ask(supply, "CURR:PROT:TRIP? (@1);:STAT:QUES:INST:ISUM1:COND?") == "0;+1"
    clock.now += 0.1
    assert ask(supply, "CURR:PROT:TRIP? (@1)") == "1"


def test_ocp_delay_from_the_transition_to_cc(supply: E36300, clock: Clock) -> None:
    supply.execute(":CURR:PROT:STAT ON,(@1);:CURR:PROT:DEL 0.5,(@1);:CURR:PROT:DEL:STAR CCTR,(@1)")
    supply.execute(":VOLT 5,(@1);:CURR 1,(@1);:OUTP ON,(@1)")
    clock.now += 10
    supply.set_load(1, Resistor(1))
    clock.now += 0.3
    supply.set_load(1, Resistor(10))
    clock.now += 0.3
    supply.set_load(1, Resistor(1))
    clock.now += 0.4
    assert ask(supply, "CURR:PROT:TRIP? (@1)") == "0"
    clock.now += 0.1
    assert ask(supply, "CURR:PROT:TRIP? (@1)") == "1"


def test_loads_change_with_time(supply: E36300, clock: Clock) -> None:
    supply.set_load(2, Square(ConstantCurrent(0.1), ConstantCurrent(0.7), period=4.0))
    supply.execute(":VOLT 12,(@2);:OUTP ON,(@2)")
    currents = []
    for _ in range(4):
        currents.append(float(ask(supply, "MEAS:CURR? (@2)")))
        clock.now += 2.0
    assert currents == [0.1, 0.7, 0.1, 0.7]


def test_delays_of_outputs(supply: E36300, clock: Clock) -> None:
    supply.execute(":OUTP:DEL:RISE 2,(@1);:OUTP:DEL:FALL 1,(@1);:VOLT 5,(@1);:OUTP ON,(@1)")
    clock.now += 1.9
    assert ask(supply, "MEAS:VOLT? (@1)") == "+0.00000E+00"
    clock.now += 0.1
    assert ask(supply, "MEAS:VOLT? (@1)") == "+5.00000E+00"
    supply.execute("OUTP OFF,(@1)")
    assert ask(supply, "MEAS:VOLT? (@1);:OUTP? (@1)") == "+5.00000E+00;0"
    clock.now += 1.0
    assert ask(supply, "MEAS:VOLT? (@1)") == "+0.00000E+00"


def test_an_unregulated_output(supply: E36300) -> None:
    supply.set_load(1, Unregulated(Resistor(10)))
    supply.execute(":VOLT 5,(@1);:CURR 0.1,(@1);:CURR:PROT:STAT ON,(@1);:OUTP ON,(@1)")
    assert ask(supply, "OUTP? (@1);:STAT:QUES:INST:ISUM1:COND?") == "1;+0"


def test_noise_is_small_and_repeatable() -> None:
    def readings(seed: int) -> list[float]:
        supply = E36300(loads={1: Resistor(10)}, seed=seed)
        supply.execute(":VOLT 5,(@1);:OUTP ON,(@1)")
        return [float(ask(supply, "MEAS:VOLT? (@1)")) for _ in range(50)]

    first = readings(1)
    assert first == readings(1)
    assert first != readings(2)
    assert len(set(first)) > 10
    assert all(abs(reading - 5) < 0.002 for reading in first)


def test_front_panel(supply: E36300) -> None:
    panel = supply.panel
    assert panel.knob_voltage(1, 4.2)
    assert panel.knob_current(1, 0.7)
    assert panel.knob_protection(1, 6.0)
    assert panel.press_current_protection(1, False)
    assert panel.press_output(1)
    assert ask(supply, "VOLT? (@1);CURR? (@1);:VOLT:PROT? (@1);:OUTP? (@1)") == (
        "+4.20000E+00;+7.00000E-01;+6.00000E+00;1"
    )
    assert panel.press_output(1)
    assert panel.press_all(True)
    assert ask(supply, "OUTP? (@1:3)") == "1,1,1"
    supply.trip(2, "OVP")
    assert panel.clear_protection(2)
    assert ask(supply, "OUTP? (@2)") == "1"
    with pytest.raises(ValueError, match="channel 1's voltage"):
        panel.knob_voltage(1, 7)
    assert not supply.errors


def test_locked_front_panel(supply: E36300) -> None:
    supply.execute("SYST:RWL")
    panel = supply.panel
    assert not panel.press_output(1)
    assert not panel.knob_voltage(1, 5)
    assert not panel.press_all(True)
    assert not panel.clear_protection(1)
    assert not panel.press_current_protection(1, True)
    assert ask(supply, "OUTP? (@1);:VOLT? (@1);:CURR:PROT:STAT? (@1)") == "0;+0.00000E+00;0"
    supply.execute("SYST:LOC")
    assert panel.press_output(1)


def test_power_cycle(supply: E36300) -> None:
    supply.execute(":VOLT 5,(@1);:OUTP ON,(@1);:SYST:RWL;*ESE 255;*SAV 1;FOO")
    supply.power_cycle()
    assert ask(supply, "VOLT? (@1);:OUTP? (@1);:SYST:COMM:RLST?;*ESE?;*ESR?;:SYST:ERR?") == (
        '+0.00000E+00;0;LOC;+0;+128;+0,"No error"'
    )
    assert supply.channels[1].load == Resistor(10)
    supply.execute("*RCL 1")
    assert ask(supply, "VOLT? (@1);:OUTP? (@1)") == "+5.00000E+00;1"


def test_twenty_errors_and_no_more(supply: E36300) -> None:
    for _ in range(25):
        supply.execute("FOO")
    errors = [ask(supply, "SYST:ERR?") for _ in range(21)]
    assert errors == ['-113,"Undefined header"'] * 19 + ['-350,"Error queue overflow"', '+0,"No error"']


def test_quirks() -> None:
    supply = E36300(quirks=Quirks(compound_messages=False, channel_lists="none"), noise=False)
    assert supply.execute("VOLT?;CURR?") is None
    assert supply.execute("VOLT? (@1)") is None
    assert ask(supply, "SYST:ERR?") == '-103,"Invalid separator"'
    assert ask(supply, "SYST:ERR?") == '-108,"Parameter not allowed"'
    supply.execute("INST:NSEL 2")
    supply.execute("VOLT 3")
    assert ask(supply, "VOLT?") == "+3.00000E+00"


SETTINGS = st.tuples(
    st.sampled_from(["VOLT", "CURR", "VOLT:PROT"]), st.floats(-1, 30, allow_nan=False), st.integers(0, 4)
)


@given(st.lists(SETTINGS, max_size=20), st.sampled_from(["E36311A", "E36312A", "E36313A"]))
def test_no_setting_ever_leaves_its_range(settings: list[tuple[str, float, int]], model: str) -> None:
    supply = E36300(model, noise=False, loads={1: Resistor(1)})
    for header, value, channel in settings:
        supply.execute(f"{header} {value!r},(@{channel});:OUTP ON,(@{channel})")
    for output in supply.channels.values():
        assert 0 <= output.settings.voltage <= output.rating.voltage_max
        assert 0 <= output.settings.current <= output.rating.current_max
        assert 0.5 <= output.settings.protection <= output.rating.protection_max
        assert output.voltage <= output.settings.protection + 1e-9


@given(st.lists(st.sampled_from([line for _, line, _ in read_transcript()]), max_size=30))
def test_any_order_of_messages_leaves_a_working_supply(messages: list[str]) -> None:
    supply = E36300(noise=False)
    for message in messages:
        supply.execute(message)
    supply.execute("*RST;*CLS;:OUTP:PAIR OFF")
    assert ask(supply, "*IDN?").startswith("Keysight Technologies,E36313A")
    assert ask(supply, "OUTP? (@1:3);:SYST:ERR?") == '0,0,0;+0,"No error"'


@pytest.mark.parametrize(("mode", "comes_back"), [("LIVE", True), ("LATC", False)])
def test_the_remote_inhibit(supply: E36300, mode: str, comes_back: bool) -> None:
    supply.execute(f"VOLT 5,(@1);:OUTP ON,(@1);:OUTP:INH:MODE {mode}")
    supply.inhibit(signal=True)
    assert ask(supply, "OUTP? (@1)") == "1"  # pin 3 has another function
    supply.inhibit(signal=False)
    supply.execute("DIG:PIN3:FUNC INH")
    supply.inhibit(signal=True)
    assert ask(supply, "OUTP? (@1);:STAT:QUES:INST:ISUM1:COND?;:VOLT:PROT:TRIP? (@1)") == "0;+0;0"
    assert numbers(ask(supply, "MEAS:VOLT? (@1)")) == pytest.approx([0], abs=0.01)
    supply.execute("OUTP:PROT:CLE (@1)")
    assert ask(supply, "OUTP? (@1)") == "0"  # the signal is still there
    supply.inhibit(signal=False)
    assert ask(supply, "OUTP? (@1)") == ("1" if comes_back else "0")
    supply.execute("OUTP:PROT:CLE (@1)")
    assert ask(supply, "OUTP? (@1)") == "1"


def test_the_digital_port_of_the_larger_models(supply: E36300) -> None:
    supply.execute("DIG:PIN1:FUNC ONCouple;:DIG:PIN2:FUNC OFFC")
    assert ask(supply, "DIG:PIN1:FUNC?;:DIG:PIN2:FUNC?;:DIG:PIN3:FUNC?;:OUTP:INH:MODE?") == "ONC;OFFC;DIO;OFF"
    small = E36300("E36311A", noise=False)
    for question in ("DIG:PIN1:FUNC?", "OUTP:INH:MODE?"):
        assert small.execute(question) is None
        assert small.errors.pop()[0] == -113


def test_the_panel_couples_and_delays(supply: E36300) -> None:
    assert supply.panel.couple(1, 3)
    assert ask(supply, "OUTP:COUP:CHAN?") == "CH1,CH3"
    assert supply.panel.press_output(1, True)
    assert ask(supply, "OUTP? (@1:3)") == "1,0,1"
    assert supply.panel.couple()
    assert ask(supply, "OUTP:COUP:CHAN?") == "NONE"
    assert supply.panel.delay(2, rise=3, fall=4)
    assert numbers(ask(supply, "OUTP:DEL:RISE? (@2);FALL? (@2)")) == [3, 4]
    assert supply.panel.choose_inhibit("LIVE")
    assert ask(supply, "OUTP:INH:MODE?;:DIG:PIN3:FUNC?") == "LIVE;INH"
    supply.execute("SYST:RWL")
    assert not supply.panel.couple(1, 2)
    assert not supply.panel.delay(1, rise=1)
    assert not supply.panel.choose_inhibit("OFF")
    assert ask(supply, "OUTP:COUP:CHAN?;:OUTP:INH:MODE?") == "NONE;LIVE"
