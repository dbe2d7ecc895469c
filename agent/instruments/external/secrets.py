"""Secrets in what programs print: a script's error message may hold a token, and the agent publishes that message."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

#: The fewest characters of a secret. Fewer are found in any text.
_SHORTEST = 4
#: The fewest characters of a value of the agent's environment; many short ones are no secrets (`bench`, `C.UTF-8`).
_SHORTEST_VALUE = 6
#: Variables whose values stand in many messages and are no secrets: names of people, hosts, languages and places.
_PUBLIC = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TERM|SHELL|USER|LOGNAME|HOSTNAME|PWD|OLDPWD|SHLVL|_|EDITOR|PAGER|TMPDIR|"
    r"VIRTUAL_ENV|PYTHON\w*|XDG_\w+|\w+_(DIRECTORY|DIR|PATH|HOME)"
)


class Secrets:
    """Texts that no message may show.

    :param configured: from the configuration, such as the broker's password
    :param environment: whose values no message may show either; the agent's own by default
    """

    def __init__(self, configured: Iterable[str], environment: Mapping[str, str] | None = None) -> None:
        known = {part for text in configured for part in (text, *text.splitlines()) if len(part) >= _SHORTEST}
        for name, value in (os.environ if environment is None else environment).items():
            if not _PUBLIC.fullmatch(name):
                known |= {part for part in (value, *value.splitlines()) if len(part) >= _SHORTEST_VALUE}
        # The longest first: one may hold another.
        longest_first = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def conceal(self, text: str) -> str:
        """The text with ``***`` in place of each secret."""
        return text if self._pattern is None else self._pattern.sub("***", text)
