"""One broker measured and tried, from its start to its end."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.client.broker.measuring import measure, scratch
from agent.config import Mqtt
from tests.brokers.program import BrokerProgram
from tests.brokers.trial import try_agent, try_denial


@dataclass
class Result:
    """What docs/brokers.md tells of a broker; as JSON it is kept until the next run."""

    name: str
    title: str
    version: str
    source: str
    access_control: str
    date: str
    #: Of `psu-agent check --connect`: what it measured, and its sentences.
    findings: dict[str, Any]
    missing: list[str]
    #: Of the agent on it.
    trial: dict[str, Any]
    faults: list[str]


def measured(kind: type[BrokerProgram], folder: Path, *, build: bool = False, denial: bool = True) -> Result:
    """Run a broker of this kind, measure it as `psu-agent check --connect` does, and try the agent on it.

    :param build: get what the cache does not have
    :param denial: start it a second time, with access control, where it has that
    :raises NotHadError: it can't be had here
    """
    with kind(folder / "broker", build=build) as broker:
        options = Mqtt.model_validate({"host": broker.host, "port": broker.port, **broker.login()})
        found = measure(options, "bench")
        if found.version is None:
            raise AssertionError(f"{kind.title} could not be measured: {found.problem}")
        if broker.port_for("3.1.1") != broker.port:  # a listener of its own
            found.mqtt_3_1_1 = broker.accepts_client()
        trial = try_agent(broker, folder / "agent", found.version)
        version = broker.version()
    if denial and kind.restricts_topics:
        with kind(folder / "guarded", access=True) as broker:
            try_denial(broker, folder / "denied", found.version, trial)
    return Result(
        name=kind.name,
        title=kind.title,
        version=version,
        source=kind.source,
        access_control=kind.access_control,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        findings=found.as_dict(),
        missing=[text.replace(scratch(options, "bench"), "…") for text in found.missing("…")],
        trial={name: value for name, value in asdict(trial).items() if name != "log"},
        faults=trial.faults,
    )
