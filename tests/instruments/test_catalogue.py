"""The series files: their models and ratings, and what they may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agent.instruments.catalogue import EXTERNAL, Model, all_models, candidates, identify, models_of
from agent.instruments.catalogue.schema import Series
from agent.instruments.driver import Identity
from agent.protocol.quantities import BY_NAME, SETTINGS


def test_the_series_has_these_models_and_ratings() -> None:
    table = {
        model.name: [
            (c.index, c.voltage_rating, c.current_rating, c.voltage, c.current, c.voltage_protection)
            for c in model.channels
        ]
        for model in candidates("E36300")
    }
    assert table == {
        "E36311A": [
            (1, 6.0, 5.0, (0, 6.18), (0, 5.15), (0.5, 6.6)),
            (2, 25.0, 1.0, (0, 25.75), (0, 1.03), (0.5, 27.5)),
            (3, 25.0, 1.0, (-25.75, 0), (0, 1.03), (0.5, 27.5)),
        ],
        "E36312A": [
            (1, 6.0, 5.0, (0, 6.18), (0, 5.15), (0.5, 6.6)),
            (2, 25.0, 1.0, (0, 25.75), (0, 1.03), (0.5, 27.5)),
            (3, 25.0, 1.0, (0, 25.75), (0, 1.03), (0.5, 27.5)),
        ],
        "E36313A": [
            (1, 6.0, 10.0, (0, 6.18), (0, 10.3), (0.5, 6.6)),
            (2, 25.0, 2.0, (0, 25.75), (0, 2.06), (0.5, 27.5)),
            (3, 25.0, 2.0, (0, 25.75), (0, 2.06), (0.5, 27.5)),
        ],
    }


def test_every_model_names_its_source_and_says_whether_it_was_tried() -> None:
    for model in all_models():
        assert model.series.manual
        assert isinstance(model.series.tested, list)


def test_every_command_of_a_series_is_a_setting_of_the_table() -> None:
    for model in all_models():
        assert all(BY_NAME[setting].written for setting in model.series.commands)
        assert [output.index for output in model.outputs] == [channel.index for channel in model.channels]
        assert all(output.settings == set(model.series.commands) for output in model.outputs)


def test_an_external_unit_may_be_no_model_of_the_catalogue() -> None:
    assert candidates(EXTERNAL) == ()


@pytest.mark.parametrize(
    ("maker", "model", "found"),
    [
        ("Keysight Technologies", "E36313A", "E36313A"),
        ("AGILENT TECHNOLOGIES", "e36313a", "E36313A"),
        ("Rigol", "E36313A", None),
        ("Keysight Technologies", "E36313", None),
    ],
)
def test_a_model_is_known_by_its_maker_and_its_name(maker: str, model: str, found: str | None) -> None:
    known = identify(Identity(maker, model, "1", "1"))
    assert (known.name if known else None) == found


#: A series whose settings take one output a message.
ONE_BY_ONE: dict[str, Any] = {
    "series": "T1",
    "manufacturer": "Test",
    "manual": "none",
    "tested": [],
    "identity": {"manufacturer": "Test"},
    "queries": {
        "voltage": {"ask": "MEAS:VOLT? CH{channel}", "answer": "number"},
        "current": {"ask": "MEAS:CURR? CH{channel}", "answer": "number"},
        "voltage_limit": {"ask": "VOLT? CH{channel}", "answer": "number"},
        "current_limit": {"ask": "CURR? CH{channel}", "answer": "number"},
        "state": {"ask": "OUTP? CH{channel}", "answer": "boolean"},
    },
    "commands": {"state": "OUTP CH{channel},{value}", "voltage_limit": "CH{channel}:VOLT {value}"},
    "error_query": "SYST:ERR?",
    "error_queue": 5,
    "models": {
        "T100": {
            "channels": {
                index: {
                    "voltage": [0, 10],
                    "current": [0, 1],
                    "voltage_rating": 10,
                    "current_rating": 1,
                    "voltage_resolution": 0.01,
                    "current_resolution": 0.01,
                }
                for index in (1, 2, 3)
            }
        }
    },
}


def test_the_settings_of_a_series_are_those_of_its_outputs() -> None:
    (model,) = models_of(Series.model_validate(ONE_BY_ONE))
    assert [output.settings for output in model.outputs] == [{"state", "voltage_limit"}] * 3
    unrated = {**ONE_BY_ONE, "commands": {**ONE_BY_ONE["commands"], "voltage_protection": "OVP CH{channel},{value}"}}
    (model,) = models_of(Series.model_validate(unrated))
    assert all("voltage_protection" not in output.settings for output in model.outputs)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"commands": {"state": "OUTP {value}"}}, "it names no output"),
        ({"commands": {"state": "OUTP CH{channel}"}}, "{value} is missing"),
        ({"commands": {"state": "OUTP CH{channel},{value},{list}"}}, "stand there both"),
        ({"commands": {"state": "OUTP CH{chanel},{value}"}}, "chanel stands for nothing"),
        ({"commands": {"voltage": "VOLT CH{channel},{value}"}}, "commands.voltage"),
        ({"queries": {}}, "every supply has to answer these"),
        ({"guards": []}, "guards"),
    ],
)
def test_what_a_series_file_may_not_say(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Series.model_validate({**ONE_BY_ONE, **changed})


def guarded(**guard: Any) -> dict[str, Any]:
    return {**ONE_BY_ONE, "conditions": [{"ask": "OUTP:COUP?", "text": "something holds", **guard}]}


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ({"remedy": "end it"}, "give one of expect, refuse and tells"),
        ({"expect": ["0"], "tells": "coupled"}, "give one of expect, refuse and tells"),
        ({"expect": ["0"], "refuse": ["1"], "remedy": "end it"}, "give one of expect, refuse and tells"),
        ({"expect": ["0"]}, "say in remedy what to do at the unit"),
        ({"tells": "colour"}, "tells"),
        ({"tells": "coupled", "settings": ["voltage"]}, "settings"),
    ],
)
def test_what_a_condition_may_not_say(guard: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Series.model_validate(guarded(**guard))


def test_a_condition_concerns_all_settings_and_models_unless_it_names_some() -> None:
    (model,) = models_of(Series.model_validate(guarded(expect=["0"], remedy="end it")))
    (guard,) = model.guards
    assert guard.settings == SETTINGS
    (model,) = models_of(Series.model_validate(guarded(tells="coupled", models=["T200"])))
    assert model.guards == ()


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.name)
def test_every_text_of_a_condition_can_be_filled_in(model: Model) -> None:
    for guard in model.guards:
        text = f"{guard.text}; {guard.remedy}".format(channel=1, answer="X")
        assert "{" not in text
        assert text.isprintable()
