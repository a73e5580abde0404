"""A test run that test_containers.py starts and ends in several ways. pytest finds it only when it is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.containers import Containers
from tests.support.reaper import COMPOSE_LABEL, project_of


def test_that_leaves_all_removal_to_the_end_of_its_run(containers: Containers) -> None:
    assert containers.postgres.ready()
    containers.redis.pause()
    containers.network.client.volumes.create(labels={COMPOSE_LABEL: project_of(containers.run)})
    note = Path(os.environ["KEEPSTATE_TEST_NOTE"])
    half = note.with_suffix(".half")
    half.write_text(containers.run)
    half.rename(note)
    time.sleep(float(os.environ["KEEPSTATE_TEST_WAIT"]))
