"""A machine that writes its status as fast as the API server lets it, with the rights of a machine and no more."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

import control_plane
from development import credentials
from development.api import Api, ApiError

Status = Mapping[str, Any]
#: More would stand in each other's way: they write one object.
_WRITERS = 3


class Flood:
    """What has been written so far."""

    def __init__(self) -> None:
        self.written = 0
        self.began = time.monotonic()

    @property
    def per_s(self) -> float:
        """Return how many writes a second there were."""
        return self.written / (time.monotonic() - self.began)


@contextlib.contextmanager
def running(
    cluster: control_plane.Cluster, api: Api, folder: Path, vm: str, say: Callable[[int], Status], per_s: float
) -> Iterator[Flood]:
    """Write what is said for each number into a machine's status until the block ends, at most so often."""
    goal = api.get("GoalState", vm)
    assert goal is not None, f"{vm} is not enrolled"
    token = credentials.issue(api, vm, goal["spec"]["anchorUID"])
    kubeconfig = credentials.kubeconfig(cluster, token, folder / f"{vm}.kubeconfig")
    target = api.path("GoalState", vm) + "/status"
    flood, ended, numbers = Flood(), threading.Event(), itertools.count()

    def write() -> None:
        with contextlib.closing(Api(kubeconfig, api.namespace)) as own:
            due = time.monotonic()
            while not ended.wait(max(0.0, due - time.monotonic())):
                due += _WRITERS / per_s
                with contextlib.suppress(ApiError, requests.RequestException):
                    own.request("PATCH", target, {"status": say(next(numbers))}, "application/merge-patch+json")
                    flood.written += 1

    threads = [threading.Thread(target=write, daemon=True) for _ in range(_WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield flood
    finally:
        ended.set()
        for thread in threads:
            thread.join()


__all__ = ["Flood", "running"]
