"""The suite that lets random machines made of values live with the agent's plan (``plan_properties``)."""

from __future__ import annotations

import hypothesis
from hypothesis import HealthCheck, Phase

from soak.suite import Failure
from unit.agent import plan_properties
from unit.agent.plan_properties import Turn
from vmext_agent.records import Folder


class Plans:
    """Random goals, disks, failures, crashes and reboots; hypothesis makes what it finds as small as can be."""

    name, full, chunk, note = "plan", 30_000, 1000, "hypothesis"

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
        @hypothesis.given(plan_properties.LIVES)
        def live(life: tuple[dict[str, Folder], list[Turn], int]) -> None:
            try:
                plan_properties.live(*life)
            except Exception as error:
                error.add_note(f"the life: {life!r}")
                raise

        try:
            live()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
            words = " ".join([repr(error)[:500], *getattr(error, "__notes__", ())])[:4000]
            again = f'make soak ARGS="--only plan --seed {seed} --count {count} --output build/again.json"'
            return [Failure(seed, words, again)]
        return []
