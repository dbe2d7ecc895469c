"""Numbers of things, for sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """A number and what is counted, in the plural unless it is one: ``1 unit``, ``3 units``.

    :param thing: in the singular, of a word that takes an s
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
