"""The supplies that can be simulated, by model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.simulator.e3600 import E364X, E3631A
from agent.simulator.e36300 import E36300
from agent.simulator.e36300 import MODELS as E36300_MODELS
from agent.simulator.hmp import HMP
from agent.simulator.korad import KA3005P
from agent.simulator.riden import DPS, Riden
from agent.simulator.rigol import DP800
from agent.simulator.siglent import SPD3303
from agent.simulator.supply import Supply
from agent.simulator.tti import CPX

FAMILIES: Final[tuple[type[Supply], ...]] = (E3631A, E364X, DP800, SPD3303, HMP, CPX, KA3005P, Riden, DPS)

SUPPLIES: Final[Mapping[str, type[E36300 | Supply]]] = {
    **dict.fromkeys(E36300_MODELS, E36300),
    **{model: family for family in FAMILIES for model in family.models},
}
"""The class of each model."""


def make_supply(model: str, **options: Any) -> E36300 | Supply:
    """A simulated supply, without transports; `NetworkInstrument` gives it some.

    :param options: of its class, which its language may have more of: ``serial``, ``loads``, ``noise``, ``seed``, ``clock``,
        ``log_size`` for all
    :raises ValueError: the model is not known
    """
    try:
        family = SUPPLIES[model]
    except KeyError:
        raise ValueError(f"no such model to simulate: {model!r}; there are {', '.join(SUPPLIES)}") from None
    return family(model, **options)


def number_of_outputs(model: str) -> int:
    """How many outputs a model has.

    :raises KeyError: the model is not known
    """
    family = SUPPLIES[model]
    return len(family.models[model] if issubclass(family, Supply) else E36300_MODELS[model])
