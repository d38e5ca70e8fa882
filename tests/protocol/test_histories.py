"""cachecore, memcached and the model answer random histories alike; ``tests.protocol.histories`` for longer."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.protocol import histories
from tests.support.model import Model


class Lasting(Model):
    """A model with a fault: an item outlives its end by a second."""

    def end(self, exptime: int) -> int:
        return super().end(exptime) + (exptime > 0)


def run(model: type[Model], *phases: hypothesis.Phase) -> None:
    with histories.both() as followers:
        machine = type("Batch", (histories.Histories,), {"followers": followers, "model_of": model})
        settings = hypothesis.settings(histories.settings(20, 100), phases=phases)
        run_state_machine_as_test(hypothesis.seed(1)(machine), settings=settings)


def test_the_three_agree():
    run(Model, hypothesis.Phase.generate, hypothesis.Phase.shrink)


def test_a_difference_of_a_second_is_seen():
    with pytest.raises(AssertionError, match="and the model"):
        run(Lasting, hypothesis.Phase.generate)
