"""What was dropped, merged and assumed as reflections were read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Account:
    """What was dropped, merged and assumed."""

    notes: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str, count: int) -> None:
        """Count reflections that are not used, for a reason."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + int(count)

    def all_notes(self) -> tuple[str, ...]:
        """The notes, and a last one of what was dropped."""
        if not self.dropped:
            return tuple(self.notes)
        listed = ", ".join(f"{n} {reason}" for reason, n in self.dropped.items())
        return (*self.notes, f"dropped reflections: {listed}")
