"""Against a real Home Assistant. The tests of this file share one, and one bench; they are in order, each finds it in order."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import sqlite3
from typing import Any

import pytest

from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.homeassistant.instance import HomeAssistant
from tests.homeassistant.lab import ENTITIES, STRANGE, Lab, complaints, left_over, ours, wait_for, wait_for_number
from tests.lab import unit
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


def test_a_device_for_each_unit_by_way_of_the_agents(lab: Lab, ha: HomeAssistant) -> None:
    wait_for(ha, "binary_sensor.psu1_connection", "on", 60)
    wait_for(ha, "binary_sensor.psu2_connection", "on")
    wait_for(ha, "binary_sensor.psu_agent_bench_connection", "on")
    agent = ha.device("binary_sensor.psu_agent_bench_connection")
    assert agent["name"] == "psu-agent bench"
    for name, model in (("psu1", "E36313A"), ("psu2", "E36311A")):
        device = ha.device(f"binary_sensor.{name}_connection")
        assert device["name"] == name
        assert device["manufacturer"] == "Keysight Technologies"
        assert device["model"] == model
        assert device["serial_number"] == lab.simulators[name].instrument.serial
        assert re.fullmatch(r"[\d.-]+", device["sw_version"])
        assert device["via_device_id"] == agent["id"]
    uri = ha.entity("binary_sensor.psu1_connection") or {}
    assert uri["attributes"]["uri"] == lab.simulators["psu1"].resource


def test_entities_of_a_channel_and_their_classes(ha: HomeAssistant) -> None:
    wait_for(ha, "switch.psu1_vdd_output", "off")
    entities = ha.entities()
    assert entities["number.psu1_vdd_current_limit"]["state"] == "10.0"
    for entity, attributes in ENTITIES.items():
        assert entity in entities, f"{entity} is missing; there are {sorted(entities)}"
        assert attributes.items() <= entities[entity]["attributes"].items(), entities[entity]
        assert entities[entity]["state"] != "unavailable", entity
    mine = {name for name in entities if name.split(".")[1].startswith("psu1_vdd_")}
    assert mine <= set(ENTITIES), f"not expected: {mine - set(ENTITIES)}"
    assert complaints(ha) == []


def test_diagnostics_of_the_agent(ha: HomeAssistant) -> None:
    wait_for(ha, "sensor.psu_agent_bench_units_online", "2")
    assert ha.state("sensor.psu_agent_bench_backlog") == "0"
    memory = ha.entity("sensor.psu_agent_bench_memory") or {}
    assert float(memory["state"]) > 1
    assert memory["attributes"]["unit_of_measurement"] == "MiB"
    for metric in ("errors", "refused_commands", "unit_reconnections", "poll_rate", "late_polls", "dropped_samples"):
        assert float(ha.state(f"sensor.psu_agent_bench_{metric}") or "nan") >= 0, metric
    assert (ha.state("sensor.psu_agent_bench_started") or "").startswith("20")


def test_a_strange_name_stays_as_it_is(ha: HomeAssistant) -> None:
    names = [entity["attributes"].get("friendly_name") for entity in ha.entities().values()]
    assert f"psu2 {STRANGE} voltage" in names
    assert sum(str(name).startswith(f"psu2 {STRANGE} ") for name in names) == 14


def test_a_switch_and_a_number_reach_the_supply(lab: Lab, ha: HomeAssistant) -> None:
    supply = lab.simulators["psu1"].instrument
    assert ha.call("number/set_value", "number.psu1_vdd_voltage_limit", value=3.3) == 200
    assert ha.call("number/set_value", "number.psu1_vdd_current_limit", value=0.5) == 200
    assert ha.call("number/set_value", "number.psu1_vdd_over_voltage_protection", value=4.5) == 200
    wait_for(ha, "number.psu1_vdd_voltage_limit", "3.3")
    wait_for(ha, "number.psu1_vdd_current_limit", "0.5")
    wait_for(ha, "number.psu1_vdd_over_voltage_protection", "4.5")
    assert ha.call("switch/turn_on", "switch.psu1_vdd_output") == 200
    wait_for(ha, "switch.psu1_vdd_output", "on")
    wait_for_number(ha, "sensor.psu1_vdd_voltage", 3.3, 0.02)
    wait_for_number(ha, "sensor.psu1_vdd_power", 3.3 * 0.33, 0.02)
    wait_for(ha, "sensor.psu1_vdd_mode", "CV")
    assert (supply.channels[1].output, supply.channels[1].settings.voltage) == (True, 3.3)
    assert ha.call("switch/turn_on", "switch.psu1_vdd_over_current_protection") == 200
    wait_for(ha, "switch.psu1_vdd_over_current_protection", "on")
    assert ha.call("switch/turn_off", "switch.psu1_vdd_over_current_protection") == 200
    wait_for(ha, "switch.psu1_vdd_over_current_protection", "off")


def test_a_refused_number_shows_the_true_value_again(lab: Lab, ha: HomeAssistant) -> None:
    # Outside the range Home Assistant itself refuses.
    assert ha.call("number/set_value", "number.psu1_vdd_voltage_limit", value=5.6) in (400, 500)
    assert ha.state("number.psu1_vdd_voltage_limit") == "3.3"
    # Within the range it is the agent that does: a setting of coupled outputs would be set on both.
    supply = lab.simulators["psu1"].instrument
    lab.tell("psu1", "OUTP:PAIR PAR")
    refusals = lab.observe("refusals")
    assert ha.call("number/set_value", "number.psu1_ch2_voltage_limit", value=12) == 200

    def refused() -> dict[str, Any] | None:
        entity = ha.entity("number.psu1_ch2_voltage_limit")
        return entity if entity is not None and "refused" in entity["attributes"] else None

    entity = wait_until(refused, "the refusal is told", 30) or {}
    lab.tell("psu1", "OUTP:PAIR OFF")
    with contextlib.closing(refusals):
        wait_until(lambda: refusals.received, "an automation tells of the refusal", 30)
    assert refusals.received[0].payload.decode() == entity["attributes"]["refused"]
    lab.wait_for_warning("psu1", entity["attributes"]["refused"])
    assert entity["state"] in ("0", "0.0")
    assert supply.channels[2].settings.voltage == 0.0
    # The next one that is carried out takes the reason away.
    assert ha.call("number/set_value", "number.psu1_ch2_voltage_limit", value=1) == 200
    wait_until(lambda: not refused(), "the refusal is gone", 30)
    wait_for(ha, "number.psu1_ch2_voltage_limit", "1.0")


def test_a_lease_shows_its_holder_and_keeps_home_assistant_from_setting(lab: Lab, ha: HomeAssistant) -> None:
    number, holder = "number.psu1_ch2_voltage_limit", "ci-42 {{ 7 * 6 }}"
    lab.reserve("psu1", holder, ttl=600)
    wait_for(ha, "sensor.psu1_reserved_by", holder)
    assert ha.call("number/set_value", number, value=2) == 200
    refused = wait_until(lambda: (ha.entity(number) or {})["attributes"].get("refused"), "the refusal", 30)
    until = (ha.entity("sensor.psu1_reserved_by") or {})["attributes"]["until"]
    assert refused.startswith(f"psu1 is reserved for {holder} until {until[:19]}Z")
    lab.reserve("psu1", holder, release=True)
    wait_for(ha, "sensor.psu1_reserved_by", "unknown")


def test_a_setting_beyond_its_limit_is_shown_and_can_not_be_set(lab: Lab, ha: HomeAssistant) -> None:
    """Somebody at the panel, or a reset, may set more than the configuration allows."""
    number, supply = "number.psu1_vdd_current_limit", lab.simulators["psu1"].instrument

    def attribute(name: str) -> Any:
        return (ha.entity(number) or {})["attributes"].get(name)

    lab.tell("psu1", "CURR 1.03,(@1)")
    wait_for(ha, number, "1.03")
    assert supply.panel.knob_current(1, 2.0)
    wait_for(ha, number, "2.0")
    wait_until(lambda: attribute("max") == 2.0, "the range reaches to it", 30)
    # Beyond it Home Assistant refuses, as always; within it the agent does.
    assert ha.call("number/set_value", number, value=3) in (400, 500)
    assert ha.call("number/set_value", number, value=1.5) == 200
    refused = wait_until(lambda: attribute("refused"), "the refusal", 30)
    assert "current_limit 1.5 A is above the 1 A" in refused
    assert ha.state(number) == "2.0"
    assert supply.channels[1].settings.current == 2.0
    assert ha.call("number/set_value", number, value=0.5) == 200
    wait_for(ha, number, "0.5")
    wait_until(lambda: attribute("max") == 1.0, "the range is the limit's again", 30)
    assert complaints(ha) == []


def test_a_unit_that_is_removed_leaves_nothing_in_the_log(lab: Lab, ha: HomeAssistant) -> None:
    """While Home Assistant hears the empty payloads that remove what was retained."""
    with Simulator("E36312A", "MY61003") as supply:
        lab.units.append(unit("psu3", supply))
        lab.reload_agent()
        wait_for(ha, "number.psu3_ch1_voltage_limit", "0.0", 60)
        lab.reserve("psu3", "ci-42", ttl=600)
        wait_for(ha, "sensor.psu3_reserved_by", "ci-42")
        del lab.units[-1]
        lab.reload_agent()
        wait_until(lambda: not [name for name in ours(ha) if ".psu3_" in name], "psu3 is gone", 60)
        wait_until(lambda: not left_over(lab, "psu/psu3/.*"), "nothing of it is left in the broker", 30)
    assert complaints(ha) == []


def test_a_trip_is_a_problem_until_it_is_cleared(lab: Lab, ha: HomeAssistant) -> None:
    wait_for(ha, "binary_sensor.psu1_vdd_trip", "off")
    lab.simulators["psu1"].instrument.trip(1, "OVP")
    wait_for(ha, "binary_sensor.psu1_vdd_trip", "on")
    trip = ha.entity("binary_sensor.psu1_vdd_trip") or {}
    assert trip["attributes"]["tripped"] == "OVP"
    wait_for(ha, "sensor.psu1_vdd_mode", "OFF")
    assert ha.call("button/press", "button.psu1_vdd_clear_protection") == 200
    wait_for(ha, "binary_sensor.psu1_vdd_trip", "off")
    wait_for(ha, "switch.psu1_vdd_output", "off")


def test_power_cycle_is_off_and_on_again(lab: Lab, ha: HomeAssistant) -> None:
    ha.call("switch/turn_on", "switch.psu1_vdd_output")
    wait_for(ha, "switch.psu1_vdd_output", "on")
    with contextlib.closing(lab.observe("psu/psu1/1/response")) as responses:
        assert ha.call("button/press", "button.psu1_vdd_power_cycle") == 200
        wait_for(ha, "switch.psu1_vdd_output", "off")
        wait_for(ha, "switch.psu1_vdd_output", "on")
        assert responses.wait("psu/psu1/1/response")["ok"] is True


def test_no_command_is_retained(lab: Lab, ha: HomeAssistant) -> None:
    with contextlib.closing(lab.observe("psu/+/set/#")) as commands:
        ha.call("button/press", "button.psu2_all_outputs_off")
        wait_until(lambda: commands.received, "the command", 30)
    assert [(m.topic, m.payload, m.retain) for m in commands.received] == [("psu/psu2/set/state", b"OFF", False)]


def test_ten_polls_a_second_do_not_flood_the_database(lab: Lab, ha: HomeAssistant) -> None:
    """Beside sensors that are laid on the states themselves, as one would without thinking."""
    quantities = {"voltage": "V", "current": "A", "power": "W", "energy": "Wh", "charge": "Ah"}
    naive = {
        f"ch{channel}_{name}": {
            "platform": "sensor",
            "unique_id": f"naive_ch{channel}_{name}",
            "name": f"CH{channel} {name}",
            "unit_of_measurement": unit,
            "state_topic": f"psu/psu1/{channel}/state",
            "value_template": f"{{{{ value_json.{name} }}}}",
        }
        for channel in (1, 2, 3)
        for name, unit in quantities.items()
    }
    payload = {"device": {"identifiers": ["naive"], "name": "naive"}, "origin": {"name": "test"}, "components": naive}
    topic = "homeassistant/device/naive/config"

    def rows(device: str) -> int:
        query = (
            "SELECT count(*) FROM states JOIN states_meta AS meta USING (metadata_id) "
            "WHERE meta.entity_id LIKE ? AND state NOT IN ('unknown', 'unavailable')"
        )
        return int(ha.rows(query, f"sensor.{device}_%")[0][0])

    with contextlib.closing(lab.observe("psu/psu1/1/state")) as states:
        for channel in (2, 3):
            assert ha.call("switch/turn_on", f"switch.psu1_ch{channel}_output") == 200
            wait_for(ha, f"switch.psu1_ch{channel}_output", "on")
        states.send(topic, payload)
        wait_until(lambda: rows("naive") > 30, "the naive sensors have begun", 30)
        before, flood_before, polls_before = rows("psu1"), rows("naive"), len(states.received)
        wait_until(lambda: len(states.received) - polls_before >= 120, "120 polls", 60)
        after, flood_after = rows("psu1"), rows("naive")
        states.send(topic, "")
    flood, told = flood_after - flood_before, after - before
    print(f"\n120 polls of 3 channels: {flood} rows from the states, {told} from the agent's own entities")
    assert flood > 600, "the baseline is no flood; the test shows nothing"
    assert told * 10 < flood
    # And yet a load that changes is told at once.
    lab.simulators["psu1"].instrument.set_load(1, Resistor(7.5))
    wait_for_number(ha, "sensor.psu1_vdd_current", 0.44, 0.01)
    wait_until(lambda: float(ha.state("sensor.psu1_vdd_energy") or 0) > 0, "energy", 30)


def test_a_lost_unit_is_unavailable_and_only_that(lab: Lab, ha: HomeAssistant) -> None:
    lab.simulators["psu1"].stop()
    wait_for(ha, "binary_sensor.psu1_connection", "off")
    for entity in ("switch.psu1_vdd_output", "sensor.psu1_vdd_voltage", "button.psu1_all_outputs_off"):
        wait_for(ha, entity, "unavailable")
    lost = ha.entity("binary_sensor.psu1_connection")
    assert lost is not None
    assert lost["attributes"]["reason"]
    assert ha.state("switch.psu2_ch1_output") == "off"
    lab.simulators["psu1"].start()
    wait_for(ha, "binary_sensor.psu1_connection", "on")
    wait_for(ha, "switch.psu1_vdd_output", "on")


def test_a_killed_agent_takes_all_with_it(lab: Lab, ha: HomeAssistant) -> None:
    energy = float(ha.state("sensor.psu1_vdd_energy") or "nan")
    lab.kill_agent()
    wait_for(ha, "binary_sensor.psu_agent_bench_connection", "off")
    for entity in ("binary_sensor.psu1_connection", "switch.psu1_vdd_output", "sensor.psu2_ch1_voltage"):
        wait_for(ha, entity, "unavailable")
    before = ours(ha)
    lab.start_agent()
    wait_for(ha, "binary_sensor.psu_agent_bench_connection", "on")
    wait_for(ha, "switch.psu1_vdd_output", "on")
    assert float(ha.state("sensor.psu1_vdd_energy") or "nan") >= energy
    assert ours(ha) == before


def test_a_broker_that_comes_back_empty(lab: Lab, ha: HomeAssistant) -> None:
    before = ours(ha)
    lab.broker.stop()
    wait_for(ha, "switch.psu1_vdd_output", "unavailable")
    lab.broker.start()
    wait_for(ha, "switch.psu1_vdd_output", "on", 60)
    wait_until(lambda: len(left_over(lab)) == 3, "three devices", 30)
    assert ours(ha) == before


def test_home_assistant_that_restarts(lab: Lab, ha: HomeAssistant) -> None:
    before, energy = ours(ha), float(ha.state("sensor.psu1_vdd_energy") or "nan")
    ha.stop()
    with contextlib.closing(lab.observe("homeassistant/#")) as seen:
        ha.start()

        def said() -> set[str]:
            return {message.topic for message in list(seen.received) if not message.retain}

        wait_until(lambda: "homeassistant/status" in said(), "its birth", 60)
        wait_until(lambda: len(said()) == 4, "three devices again", 30)
    wait_for(ha, "switch.psu1_vdd_output", "on", 60)
    wait_for(ha, "switch.psu2_ch1_output", "off")
    assert ours(ha) == before
    assert float(ha.state("sensor.psu1_vdd_energy") or "nan") >= energy


def test_energy_has_never_jumped_nor_fallen(ha: HomeAssistant) -> None:
    """Over all that happened above: of all three, each has been restarted. The load took 1.5 W at most."""
    rows = ha.rows(
        "SELECT state, last_updated_ts FROM states JOIN states_meta AS meta USING (metadata_id) "
        "WHERE meta.entity_id = 'sensor.psu1_vdd_energy' AND state NOT IN ('unknown', 'unavailable') ORDER BY last_updated_ts"
    )
    values = [(float(state), moment) for state, moment in rows]
    assert len(values) > 3
    for (energy, moment), (later, later_moment) in itertools.pairwise(values):
        assert energy <= later, values
        # The published value may be older by an update interval and a saving interval.
        assert later - energy <= 1.5 * (later_moment - moment + 25) / 3600, values
    assert math.isfinite(values[-1][0])


def test_a_new_name_keeps_the_entities(lab: Lab, ha: HomeAssistant) -> None:
    before, identity = ours(ha), ha.device("switch.psu1_vdd_output")["id"]
    lab.stop_agent()
    lab.units[0]["name"] = "left"
    lab.units[0]["channels"][1]["name"] = "VCC"
    lab.start_agent()
    wait_for(ha, "switch.psu1_vdd_output", "on")
    device = ha.device("switch.psu1_vdd_output")
    assert (device["id"], device["name"]) == (identity, "left")
    entity = ha.entity("switch.psu1_vdd_output")
    assert entity is not None
    assert entity["attributes"]["friendly_name"] == "left VCC output"
    assert ours(ha) == before
    assert ha.call("number/set_value", "number.psu1_vdd_voltage_limit", value=2.5) == 200
    wait_for(ha, "number.psu1_vdd_voltage_limit", "2.5")
    assert lab.simulators["psu1"].instrument.channels[1].settings.voltage == 2.5


def test_a_unit_that_is_off_when_the_agent_starts_keeps_its_device(lab: Lab, ha: HomeAssistant) -> None:
    before = ours(ha)
    lab.stop_agent()
    lab.simulators["psu2"].stop()
    lab.start_agent()
    wait_for(ha, "binary_sensor.psu2_connection", "off")
    wait_for(ha, "switch.psu2_ch1_output", "unavailable")
    wait_for(ha, "switch.psu1_vdd_output", "on")
    assert ours(ha) == before
    lab.simulators["psu2"].start()
    wait_for(ha, "switch.psu2_ch1_output", "off")


def test_a_unit_in_the_place_of_another_gets_its_names(lab: Lab, ha: HomeAssistant) -> None:
    """A supply is replaced by one of the same model: a new device, and dashboards go on."""
    before = ours(ha)
    address = lab.simulators["psu2"].socket_port
    lab.simulators["psu2"].stop()
    lab.simulators["psu2"] = Simulator("E36311A", "MY61009", socket_port=address).start()
    wait_until(lambda: ha.device("switch.psu2_ch1_output")["serial_number"] == "MY61009", "the new unit", 60)
    wait_for(ha, "switch.psu2_ch1_output", "off")
    wait_until(lambda: ours(ha) == before, "the same entities as before", 30)


def test_an_entity_that_this_version_does_not_have_is_gone(lab: Lab, ha: HomeAssistant) -> None:
    """As after an update of the agent: an earlier run is made to have published one more."""
    before = ours(ha)
    topic, payload = next((t, json.loads(p)) for t, p in left_over(lab).items() if t.endswith("_MY61001/config"))
    lab.stop_agent()
    sensor = {"platform": "sensor", "unique_id": "psu_E36313A_MY61001_old", "name": "old", "state_topic": "old"}
    payload["components"]["old"] = sensor
    with contextlib.closing(lab.observe(topic)) as earlier:
        earlier.send(topic, payload, retain=True)
    wait_until(lambda: ours(ha) - before == {"sensor.left_old"}, "the old entity", 30)
    with contextlib.closing(sqlite3.connect(lab.folder / "state" / "bench.sqlite3")) as db, db:
        (text,) = db.execute("SELECT record FROM discovered WHERE topic = ?", (topic,)).fetchone()
        record = json.loads(text)
        record["platforms"]["old"] = "sensor"
        db.execute("UPDATE discovered SET record = ? WHERE topic = ?", (json.dumps(record), topic))
    lab.start_agent()
    wait_until(lambda: ours(ha) == before, "the old entity is gone", 30)


def test_a_unit_that_is_removed_while_home_assistant_is_down(lab: Lab, ha: HomeAssistant) -> None:
    before = ours(ha)
    ha.stop()
    lab.stop_agent()
    del lab.units[1]
    lab.start_agent()
    wait_until(lambda: len(left_over(lab)) == 2, "the device is cleared", 60)
    ha.start()
    wait_until(lambda: ours(ha) == {name for name in before if ".psu2_" not in name}, "psu2 is gone", 60)
    assert ha.state("switch.psu2_ch1_output") is None

    wait_until(lambda: len(left_over(lab)) == 2, "nothing of psu2 is left in the broker", 30)
    wait_until(lambda: not left_over(lab, "psu/psu2/+/homeassistant"), "nor anywhere else", 30)
    wait_for(ha, "switch.psu1_vdd_output", "on")


def test_without_discovery_in_the_configuration_all_is_cleared(lab: Lab, ha: HomeAssistant) -> None:
    lab.stop_agent()
    del lab.data["settings"]["homeassistant"]
    lab.start_agent()
    wait_until(lambda: not ours(ha), "everything is cleared", 60)
    assert left_over(lab) == {}
    assert complaints(ha) == []
