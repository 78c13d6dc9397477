"""What is said of a configuration that can't be used."""

from __future__ import annotations


class ConfigError(ValueError):
    """Something in the user's configuration that can't be used: what, where, what to do."""

    def __init__(self, problem: str, file: str = "", line: int | None = None) -> None:
        place = f"{file}:{line}: " if line else f"{file}: " if file else ""
        super().__init__(place + problem)
        self.problem, self.file, self.line = problem, file, line
