"""A slice of the fault runs, with a seed; ``make soak ARGS="--only operator"`` runs them in full."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from soak.turmoil import Turmoil


@pytest.mark.timeout(600)
def test_whatever_fails_the_end_is_what_is_declared(
    own_cluster: control_plane.ControlPlane, api: Api, tmp_path: Path
) -> None:
    turmoil = Turmoil(own_cluster, tmp_path, api, random.Random(5), machines=40)
    wrong = turmoil.live(5, pause_s=8.0, settle_s=120.0)
    print(turmoil.note)
    assert wrong == []
