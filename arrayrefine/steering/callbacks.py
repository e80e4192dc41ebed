"""Who listens to a refinement, and who may end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arrayrefine.errors import InputError, StopRefinement
from arrayrefine.report import Step
from arrayrefine.state import State


def check_callbacks(**given: object) -> None:
    """Refuse what cannot be called, before a refinement and not after its first step.

    Raises
    ------
    InputError
        Naming the callback, and what was found.
    """
    for name, callback in given.items():
        if callback is not None and not callable(callback):
            raise InputError(f"{name}: found a {type(callback).__name__}; expected a function, or None")


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

    def __post_init__(self) -> None:
        check_callbacks(on_step=self.on_step, on_state=self.on_state, on_message=self.on_message, stop=self.stop)

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
        if self.ended or self.stop is None:
            return bool(self.ended)
        try:
            return self.stop() is not None
        except StopRefinement:
            self.ended = "stop"
            return True

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
