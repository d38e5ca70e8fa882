"""cachecore, memcached and the model answer random histories alike; ``tests.protocol.histories`` for longer."""

from __future__ import annotations

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from tests.protocol import histories


def test_the_three_agree():
    with histories.both() as histories.Histories.followers:
        machine = hypothesis.seed(1)(type("Batch", (histories.Histories,), {}))
        run_state_machine_as_test(machine, settings=histories.settings(20, 100))
