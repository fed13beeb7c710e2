"""What `quadlib explain CODE` says of a finding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A code explained: its title, what is violated, why that matters and how it shows, the fix,
    and code that triggers it.
    """

    title: str
    what: str
    why: str
    fix: str
    example: str

    def to_text(self, code: str) -> str:
        """The explanation as text."""
        example = "\n".join(f"    {line}" for line in self.example.strip().splitlines())
        return (
            f"{code}: {self.title}\n\n{self.what}\n\nWhy it matters: {self.why}\n\nWhat to do: "
            f"{self.fix}\n\n"
            f"An example that triggers it:\n\n{example}\n"
        )
