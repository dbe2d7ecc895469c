"""The whole configuration file as one object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, PrivateAttr, SecretStr

from agent.config.faults import Fault
from agent.config.settings import PublishSettings, Settings
from agent.config.units import UNIT_EXAMPLE, UnitSettings
from agent.config.values import Section
from agent.instruments import catalogue
from agent.protocol.words import counted

#: Polls per second that an interval of 0 ("as fast as it answers") is taken for when the backlog is sized.
FASTEST_ASSUMED_RATE = 20.0
#: Channels of a unit that has not told yet how many it has, for the same purpose.
CHANNELS_ASSUMED = 4


class Config(Section):
    """A whole configuration file."""

    settings: Settings = Field(default_factory=Settings, description="a mapping of what holds for the agent as a whole")
    units: list[UnitSettings] = Field(
        description=f"a list of supplies, each such as {UNIT_EXAMPLE}", json_schema_extra={"minItems": 1}
    )

    _path: Path | None = PrivateAttr(default=None)
    _warnings: tuple[Fault, ...] = PrivateAttr(default=())
    _series_faults: tuple[str, ...] = PrivateAttr(default=())
    _series: dict[str, catalogue.Series] = PrivateAttr(default_factory=dict)

    def set_origin(self, path: Path | None, warnings: Sequence[Fault], series_faults: Sequence[str] = ()) -> None:
        """Note the file that it was read from, the warnings about it, and the faults of series files.

        Called once, by `agent.config.loading`.
        """
        self._path = path
        self._warnings = tuple(warnings)
        self._series_faults = tuple(series_faults)
        self._series = {unit.name: models[0].series for unit in self.units if (models := unit.candidates)}

    @property
    def path(self) -> Path | None:
        """The file it was read from; None where it came from no file."""
        return self._path

    @property
    def folder(self) -> Path:
        """The folder that relative paths in it begin at."""
        return self._path.parent if self._path is not None else Path()

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """Remarks on the file that are no faults, such as keys that are not used."""
        return self._warnings

    @property
    def series_faults(self) -> tuple[str, ...]:
        """The faults of the user's series files that could not be used, a line each. The units that need them are offline."""
        return self._series_faults

    def series(self, unit: UnitSettings) -> catalogue.Series | None:
        """The series of a unit, as it was when this file was read; None for `external`, and where its file has had a fault since
        the unit was added or changed.
        """
        return self._series.get(unit.name)

    @property
    def size(self) -> str:
        """How many units it has, for a sentence: ``1 unit``."""
        return counted(len(self.units), "unit")

    def poll_interval(self, unit: UnitSettings) -> float:
        """Seconds between polls of `unit`, 0 for as fast as it answers."""
        return self.settings.poll_interval if unit.poll_interval is None else unit.poll_interval

    def publish(self, unit: UnitSettings) -> PublishSettings:
        """Which states of `unit` are published."""
        return self.settings.publish if unit.publish is None else unit.publish

    def fields_published(self) -> dict[str, PublishSettings]:
        """The units of whose channels each value is published on a topic of its own, too, with what counts as a change."""
        wanted = self.settings.publish_fields
        return {
            unit.name: self.publish(unit)
            for unit in self.units
            if (wanted if unit.publish_fields is None else unit.publish_fields)
        }

    def with_password(self, password: SecretStr) -> Config:
        """The same with this password for the broker: it was read from `password_file`."""
        mqtt = self.settings.mqtt.model_copy(update={"password": password})
        return self.model_copy(update={"settings": self.settings.model_copy(update={"mqtt": mqtt})})

    def secrets(self) -> list[str]:
        """The texts of the file that no message may show."""
        password = self.settings.mqtt.password
        return [] if password is None else [password.get_secret_value()]

    def restart_needed(self, newer: Config) -> list[str]:
        """The keys of `settings` that differ in a newer version of the file and that only a restart brings into effect."""
        keys = set(Settings.model_fields) - {"poll_interval", "publish", "publish_fields", "series", "uvicorn"}
        return sorted(key for key in keys if getattr(self.settings, key) != getattr(newer.settings, key))

    def with_settings_of(self, older: Config) -> Config:
        """This version of the file as far as it can come into effect without a restart.

        A unit that is the same but for its series file, which has a fault now, keeps the series that it had: the fault would
        have it offline, and nobody could turn its outputs off.
        """
        if self._series_faults:
            before = {unit.name: unit for unit in older.units}
            kept = {
                unit.name: series
                for unit in self.units
                if unit.name not in self._series
                and (former := before.get(unit.name)) is not None
                and (series := older.series(former)) is not None
                and former.served() == unit.served()
                and older.poll_interval(former) == self.poll_interval(unit)
                and older.publish(former) == self.publish(unit)
            }
            self._series |= kept
        settings = older.settings.model_copy(
            update={
                "poll_interval": self.settings.poll_interval,
                "publish": self.settings.publish,
                "publish_fields": self.settings.publish_fields,
                "series": self.settings.series,
            }
        )
        return self.model_copy(update={"settings": settings})

    def backlog_capacity(self) -> int:
        """How many samples, of all channels together, the backlog holds at most.

        A poll interval of 0 is counted as `FASTEST_ASSUMED_RATE` polls a second.
        """
        rate = 0.0
        for unit in self.units:
            interval = self.poll_interval(unit)
            polls = min(1 / interval, FASTEST_ASSUMED_RATE) if interval else FASTEST_ASSUMED_RATE
            known = max((len(model.channels) for model in unit.candidates), default=0)
            rate += polls * (known or len(unit.channels) or CHANNELS_ASSUMED)
        by_age = math.ceil(rate * self.settings.backlog.age)
        most = self.settings.backlog.samples
        if most is None:
            return by_age
        return min(by_age, most) if "age" in self.settings.backlog.model_fields_set else most
