"""The SCPI grammar: what a message means, before any instrument is asked to do it.

Written from SCPI-1999 volume 1 (Syntax and Style) and IEEE 488.2-1992 (data formats). An instrument hands its commands
in the notation of its manual (``[SOURce:]VOLTage[:LEVel]``) to a `CommandTree`, which turns a message into a tuple of
`MessageUnit`, each a handler and the arguments that it is to be called with.

`errors` holds the errors and their queue, `data` reads one parameter as it was sent, `parameters` has the types of
parameters, `tree` finds the command of a header.
"""

from __future__ import annotations

from agent.simulator.scpi.data import Datum, forms, parse_channel_list, parse_datum
from agent.simulator.scpi.errors import ERROR_TEXTS, ErrorQueue, ScpiError
from agent.simulator.scpi.parameters import Boolean, Choice, Integer, Numeric, Parameter, Text
from agent.simulator.scpi.tree import Call, Command, CommandTree, MessageUnit, Quirks

__all__ = [
    "ERROR_TEXTS",
    "Boolean",
    "Call",
    "Choice",
    "Command",
    "CommandTree",
    "Datum",
    "ErrorQueue",
    "Integer",
    "MessageUnit",
    "Numeric",
    "Parameter",
    "Quirks",
    "ScpiError",
    "Text",
    "forms",
    "parse_channel_list",
    "parse_datum",
]
