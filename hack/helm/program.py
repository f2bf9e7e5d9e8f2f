"""helm, run against one cluster with settings of its own: nobody's repositories, plugins or cache have a say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_DEADLINE_S = 300.0


class HelmError(Exception):
    """helm ended with an error.

    Attributes:
        said: its own words.
    """

    def __init__(self, command: str, status: int, said: str) -> None:
        super().__init__(f"{command} ended with {status}: {said}")
        self.said = said


@dataclass(frozen=True, slots=True)
class Helm:
    """helm for one cluster.

    Attributes:
        program: the file to run.
        folder: for what it keeps, and for values.
        kubeconfig: the cluster; None for what needs none.
    """

    program: Path
    folder: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """Run helm and return what it printed.

        Args:
            arguments: its own.
            values: for the chart, by file and not by argument: types stay what they are.

        Raises:
            HelmError: with its words.
        """
        command = [str(self.program), *arguments]
        given = None
        if values is not None:
            command += ["--values", "-"]
            given = json.dumps(values)
        kept = {f"HELM_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **kept}
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(
            command,
            input=given or "",
            env=environment,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise HelmError(f"helm {' '.join(arguments)}", done.returncode, (done.stderr + done.stdout).strip())
        return done.stdout

    def template(
        self, chart: Path, *arguments: str, values: Mapping[str, Any] | None = None, release: str = "vmext"
    ) -> list[dict[str, Any]]:
        """Return the objects that a chart renders to. Raises HelmError."""
        rendered = self.run("template", release, str(chart), *arguments, values=values or {})
        return [obj for obj in yaml.safe_load_all(rendered) if obj]
