"""The faults of a configuration, each with the line that it stands on."""

from __future__ import annotations

from dataclasses import dataclass

from agent.config.source import KeyPath, Source


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file. Prints as ``FILE:LINE: KEY.PATH: what is wrong and what would be right``."""

    file: str
    line: int  #: from 1; 0 where no line is meant: a file that is not there, data that came from no file
    key: str  #: key path, ``units[1].channels.2.voltage_max``; empty for the file as a whole
    message: str

    def __str__(self) -> str:
        file = self.file if self.file.isprintable() else ascii(self.file)
        return f"{file}{f':{self.line}' if self.line else ''}: {f'{self.key}: ' if self.key else ''}{self.message}"


class ConfigError(Exception):
    """The configuration can't be used. `faults` holds everything that is wrong with it, in the order of its lines."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class FaultList:
    """The faults and warnings of one document, collected while it is checked. It begins with the faults of the YAML itself."""

    def __init__(self, source: Source, file: str) -> None:
        self.source = source
        self.warnings: list[Fault] = []
        self._file = file
        self._faults: dict[tuple[str, str], Fault] = {}
        self._faulty: set[KeyPath] = set()  # every path with a fault at it or in it
        self._unreadable = {problem.place.key for problem in source.problems}
        for problem in source.problems:
            place = problem.place
            # Two lines may have the same key path: a key that stands there twice.
            self._faults[f"{place.line} {place.key}", problem.message] = self._at(
                place.line, place.key, problem.message
            )

    def __bool__(self) -> bool:
        return bool(self._faults)

    def in_order(self) -> list[Fault]:
        """All faults, in the order of their lines."""
        return sorted(self._faults.values(), key=lambda fault: fault.line)

    def add(self, path: KeyPath, message: str) -> None:
        """Note a fault of the value at `path`. The same fault at the same place is noted once."""
        place = self.source.place(path)
        self._faults.setdefault((place.key, message), self._at(place.line, place.key, message))
        self._faulty.update(path[:length] for length in range(len(path) + 1))

    def warn(self, path: KeyPath, message: str) -> None:
        """Note a warning about the value at `path`: something that is no fault."""
        place = self.source.place(path)
        self.warnings.append(self._at(place.line, place.key, message))

    def is_readable(self, path: KeyPath) -> bool:
        """True if YAML has a value for `path`."""
        return self.source.place(path).key not in self._unreadable

    def is_sound(self, path: KeyPath) -> bool:
        """True if no fault was found at `path` or in it until now."""
        return path not in self._faulty and self.is_readable(path)

    def _at(self, line: int, key: str, message: str) -> Fault:
        return Fault(self._file, line, key, message)
