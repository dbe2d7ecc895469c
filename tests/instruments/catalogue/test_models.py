"""The series files: their models and ratings, and what they may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from agent.instruments.catalogue import (
    EXTERNAL,
    Model,
    SeriesFileError,
    UnknownModelError,
    all_models,
    candidates,
    identify,
    models_of,
    read,
)
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
        assert model.series.sources
        assert isinstance(model.series.tried, tuple)


def test_every_command_of_a_series_is_a_setting_of_the_table() -> None:
    for model in all_models():
        assert all(BY_NAME[setting].written for setting in model.series.settable)
        assert [output.index for output in model.outputs] == [channel.index for channel in model.channels]
        assert all(output.settings <= model.series.settable for output in model.outputs)


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


@pytest.mark.parametrize(
    "text",
    ["Agilent Technologies,E36313A", "Keysight,E36313A", "keysight technologies,e36313a", "E36300,E36313A", "E36313A"],
)
def test_a_model_may_stand_behind_every_name_of_its_maker(text: str) -> None:
    """A file of PSUDaemon holds the name as the unit tells it, and older units tell Agilent."""
    assert [model.name for model in candidates(text)] == ["E36313A"]


def test_a_model_of_another_maker_is_none() -> None:
    with pytest.raises(UnknownModelError, match="is not a supported model"):
        candidates("Rigol,E36313A")


#: A series whose settings take one output a message.
ONE_BY_ONE: dict[str, Any] = {
    "series": "T1",
    "manufacturer": "Test",
    "sources": ["none"],
    "tried": False,
    "polls": [
        {"ask": "MEAS:VOLT? CH{ch}", "answer": "{voltage}"},
        {"ask": "MEAS:CURR? CH{ch}", "answer": "{current}"},
        {"ask": "VOLT? CH{ch}", "answer": "{voltage_limit}"},
        {"ask": "CURR? CH{ch}", "answer": "{current_limit}"},
        {"ask": "OUTP? CH{ch}", "answer": "{state}"},
    ],
    "settings": {"state": {"send": "OUTP CH{ch},{value}"}, "voltage_limit": {"send": "CH{ch}:VOLT {value}"}},
    "errors": {"ask": "SYST:ERR?", "none": r"\+?0,.*", "count": 5},
    "link": {"compound": "probe"},
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
    unrated = {
        **ONE_BY_ONE,
        "settings": {**ONE_BY_ONE["settings"], "voltage_protection": {"send": "OVP CH{ch},{value}"}},
    }
    (model,) = models_of(Series.model_validate(unrated))
    assert all("voltage_protection" not in output.settings for output in model.outputs)


def state(**entry: Any) -> dict[str, Any]:
    return {"settings": {"state": entry}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (state(send="OUTP {value}"), "settings.state.send: 'OUTP {value}' names no output"),
        (state(send="OUTP CH{ch}"), "settings.state.send: {value} is missing"),
        (state(send="OUTP CH{ch},{value},{list}"), "stand there both"),
        (state(send="OUTP CH{chanel},{value}"), "{chanel} stands for nothing here"),
        (state(send="OUTP CH{ch},{value},{current_limit}"), "{current_limit} stands for nothing here"),
        (state(send="OUTP CH{ch},{value:words}"), "'words' is no form of {value}"),
        (state(send="OUTP CH{ch},{value", on="x"), "give one of send, on with off, and unsupported"),
        (state(on="OUTP ON"), "give one of send, on with off, and unsupported"),
        (state(on="OUTP CH{ch},{value}", off="OUTP CH{ch},0"), "{value} has no place in a command that is on or off"),
        (state(send="OUTP {value}", selected=True), "select: missing, though parts of the file are `selected`"),
        ({"settings": {"voltage": {"send": "VOLT CH{ch},{value}"}}}, "settings.voltage"),
        ({"settings": {}}, "settings: missing; what can't be set is said there, too"),
        ({"polls": []}, "polls"),
        (
            {"polls": [{"ask": "VOLT?", "answer": "{voltage}"}]},
            "does not say of which output voltage is: ask with {ch}",
        ),
        ({"polls": [{"ask": "VOLT? CH{ch}", "answer": "{volts}"}]}, "'volts' is no quantity"),
        ({"polls": [{"ask": "VOLT? CH{ch}", "answer": "{voltage:real}"}]}, "'real' is no type of a field"),
        ({"polls": [{"ask": "VOLT? CH{ch}", "answer": "voltage"}]}, "holds no field such as {voltage}"),
        ({"polls": [{"ask": "VOLT? CH{ch}", "answer": "{voltage"}]}, "a field is {name}"),
        (
            {"polls": [{"ask": "VOLT? CH{ch}", "answer": "{voltage},{voltage}"}]},
            "twice; fields of several outputs are {voltage.1}",
        ),
        ({"registers": {"status": [{"gives": "OVP", "bit": 1}]}}, "no answer of `polls` has a field {status}"),
        ({"guards": []}, "guards: unknown key"),
        ({"models": {}}, "give models, or families of models"),
        ({"link": {"compound": "maybe"}}, "link.compound"),
        ({"errors": {"ask": "ERR?", "none": "("}}, "is no regular expression"),
        ({"bus": {"select": "ADR {address}", "addresses": [0, 30]}}, "give one of answer and confirm"),
    ],
)
def test_what_a_series_file_may_not_say(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "t1.yaml"
    file.write_text(yaml.safe_dump({**ONE_BY_ONE, **changed}, sort_keys=False))
    with pytest.raises(SeriesFileError) as error:
        read(file)
    assert said in str(error.value)
    assert all(re.match(rf"{re.escape(str(file))}:\d+: ", fault) for fault in error.value.faults)


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
