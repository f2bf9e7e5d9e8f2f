"""Suites of random lives made of values: of machines with the agent's plan, of what is declared with the compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy

from soak.suite import Failure
from unit import compile_properties
from unit.agent import plan_properties


class Lives:
    """Random lives; hypothesis makes what it finds as small as can be.

    Args:
        name: of the suite.
        full: how many lives make it complete.
        lives: to draw from.
        live: lives through one; AssertionError where something does not hold.
    """

    chunk, note = 1000, "hypothesis"

    def __init__(self, name: str, full: int, lives: SearchStrategy[tuple[Any, ...]], live: Callable[..., None]) -> None:
        self.name = name
        self.full = full
        self._lives = lives
        self._live = live

    def run(self, seed: int, count: int) -> list[Failure]:
        """Live through so many lives; return the first that did not hold."""

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @hypothesis.given(self._lives)
        def live(life: tuple[Any, ...]) -> None:
            try:
                self._live(*life)
            except Exception as error:
                error.add_note(f"the life: {life!r}")
                raise

        try:
            live()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
            words = " ".join([repr(error)[:500], *getattr(error, "__notes__", ())])[:4000]
            again = f'make soak ARGS="--only {self.name} --seed {seed} --count {count} --output build/again.json"'
            return [Failure(seed, words, again)]
        return []


def suites() -> list[Lives]:
    """Return the suites."""
    return [
        Lives("plan", 30_000, plan_properties.LIVES, plan_properties.live),
        Lives("compile", 10_000, compile_properties.LIVES, compile_properties.live),
    ]
