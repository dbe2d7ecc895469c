"""The completions of arguments and options, for their declarations: ``shell_complete=``. None of them raises, or prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from click import Context, Parameter
from click.shell_completion import CompletionItem

from agent.cli.completing.fleet import Known, known


def targets(context: Context, _: Parameter, incomplete: str) -> list[CompletionItem]:
    """``UNIT`` and ``UNIT/CH``, by numbers and by names."""
    return list(_targets(known(context.params), incomplete))


def targets_and_all(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """The same, and ``all``."""
    every = CompletionItem("all", help="every output of every agent")
    return [*targets(context, parameter, incomplete), *([every] if "all".startswith(incomplete) else [])]


def units(context: Context, _: Parameter, incomplete: str) -> list[CompletionItem]:
    """``UNIT``."""
    return [CompletionItem(name) for name in sorted(known(context.params).units) if name.startswith(incomplete)]


def configured_units(context: Context, _: Parameter, incomplete: str) -> list[CompletionItem]:
    """``UNIT`` of the configuration."""
    found = known(context.params, with_broker=False)
    return [CompletionItem(name) for name in sorted(found.units) if name.startswith(incomplete)]


def agents(context: Context, _: Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of agents."""
    return [CompletionItem(name) for name in sorted(known(context.params).agents) if name.startswith(incomplete)]


def models(_: Context, __: Parameter, incomplete: str) -> list[CompletionItem]:
    """Models of all series, in capitals or not."""
    from agent.instruments.catalogue import all_models

    found = {model.name: model.manufacturer for model in all_models()}
    return _starting(found, incomplete)


def simulated_models(_: Context, __: Parameter, incomplete: str) -> list[CompletionItem]:
    """Models that can be simulated."""
    from agent.simulator import SUPPLIES

    return _starting(dict.fromkeys(SUPPLIES, ""), incomplete)


def _starting(names: dict[str, str], incomplete: str) -> list[CompletionItem]:
    wanted = incomplete.casefold()
    return [
        CompletionItem(name, help=text or None)
        for name, text in sorted(names.items())
        if name.casefold().startswith(wanted)
    ]


def _targets(found: Known, incomplete: str) -> Iterator[CompletionItem]:
    unit, slash, channel = incomplete.partition("/")
    if not slash:
        names = sorted(name for name in found.units if name.startswith(unit))
        yield from (CompletionItem(name) for name in names)
        if len(names) != 1:
            return
        unit = names[0]
    for index, name in sorted(found.units.get(unit, {}).items()):
        is_named = name != f"CH{index}" and name.isprintable() and name.strip() == name != ""
        if str(index).startswith(channel):
            yield CompletionItem(f"{unit}/{index}", help=name if is_named else None)
        if is_named and name.startswith(channel):
            with contextlib.suppress(ValueError):
                yield CompletionItem(f"{unit}/{name}", help=f"channel {index}")
