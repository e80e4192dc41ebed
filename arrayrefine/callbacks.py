"""Who listens to a refinement, and who may end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arrayrefine.errors import StopRefinement
from arrayrefine.report import Step
from arrayrefine.state import State


@dataclass
class Listeners:
    """The callbacks of one refinement; True, or StopRefinement raised, from any of them asks for its end.

    Attributes
    ----------
    on_step, on_state, on_message, stop : callable or None
        See `refine`.
    ended : str
        Who asked for the end; empty so far.
    """

    on_step: Callable[[Step], object] | None = None
    on_state: Callable[[Step, State], object] | None = None
    on_message: Callable[[str], object] | None = None
    stop: Callable[[], int | None] | None = None
    ended: str = ""

    def step(self, step: Step, state: State) -> None:
        """A step has ended at `state`."""
        if self.on_step is not None:
            self._call("on_step", self.on_step, step)
        if self.on_state is not None:
            self._call("on_state", self.on_state, step, state)

    def say(self, sentence: str) -> None:
        """Something was fixed up, left out or assumed."""
        if self.on_message is not None:
            self._call("on_message", self.on_message, sentence)

    def interrupted(self) -> bool:
        """Whether the refinement is to end."""
        return bool(self.ended) or (self.stop is not None and self.stop() is not None)

    def reason(self, reason: str) -> str:
        """Why the refinement ended, where `reason` is what its course says."""
        return f"stopped by {self.ended}: the best model so far was kept" if self.ended else reason

    def _call(self, name: str, callback: Callable[..., object], *given: object) -> None:
        try:
            answer = callback(*given)
        except StopRefinement:
            answer = True
        # Only a true True: callbacks that happen to return numbers or lists mean nothing by it.
        if isinstance(answer, (bool, np.bool_)) and answer:
            self.ended = self.ended or name
