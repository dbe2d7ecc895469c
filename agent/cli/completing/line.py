"""Words as bash reads them: the line that is being typed taken apart, and a value quoted to go on with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[\w./:=@%+,-]")
#: Characters that keep their meaning between double quotes.
_IN_DOUBLE = re.compile(r'([$`"\\])')


@dataclass(frozen=True, slots=True)
class Line:
    """A line up to the cursor.

    ``words``: without their quotes; the last one, which may be empty, is being typed. ``raw``: that one as it stands in the line.
    ``quote``: the quotation mark in it that is still open, or empty. ``before``: the part of the word before that mark.
    """

    words: list[str]
    raw: str
    quote: str
    before: str

    @classmethod
    def parse(cls, text: str) -> Line:
        """Take a line apart by bash's rules of quoting. A part that bash would expand stays as it is."""
        words: list[str] = []
        word = quote = before = ""
        start, is_begun = 0, False
        position = 0
        while position < len(text):
            character = text[position]
            following = text[position + 1 : position + 2]
            if quote == "'":
                if character == quote:
                    quote = ""
                else:
                    word += character
            elif character == "\\" and (not quote or following in ("$", "`", '"', "\\", "\n")):
                is_begun = True
                word += "" if following == "\n" else following
                position += 1
            elif quote:
                if character == quote:
                    quote = ""
                else:
                    word += character
            elif character in ("'", '"'):
                quote, before, is_begun = character, word, True
            elif character in " \t\n":
                if is_begun:
                    words.append(word)
                word, is_begun, start = "", False, position + 1
            else:
                word, is_begun = word + character, True
            position += 1
        return cls([*words, word], text[start:], quote, before if quote else "")

    def completed(self, value: str, typed: str) -> str:
        """The text that bash is to put in the place of the word that it calls the current one.

        :param value: the whole value of the word, or that of an option behind ``--option=``
        :param typed: the word that bash calls the current one: `raw`, or what is behind a ``:`` or ``=`` in it
        """
        option, equals, _ = self.raw.partition("=")
        if equals and option.startswith("--"):
            value = f"{option}={value}"
        if self.quote:  # bash replaces what is behind the mark, and closes the quotation
            return quoted(value.removeprefix(self.before), self.quote)
        typed = "" if typed in (":", "=") else typed
        kept = self.raw[: len(self.raw) - len(typed)] if self.raw.endswith(typed) else ""
        return quoted(value.removeprefix(Line.parse(kept).words[-1]))


def quoted(value: str, quote: str = "") -> str:
    """A value as bash reads it: with backslashes, or within a quotation mark that is open, without the mark itself."""
    if quote == "'":
        return value.replace("'", "'\\''")
    if quote == '"':
        return _IN_DOUBLE.sub(r"\\\1", value)
    return "".join(c if _PLAIN.match(c) else f"\\{c}" for c in value)
