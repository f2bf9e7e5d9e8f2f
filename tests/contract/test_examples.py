"""Every manifest of ours under examples/ is one that the API server takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import control_plane

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: Kinds of other projects: what is in them is held to their schemas where those projects run (make test-gitops).
ELSEWHERE = ("argoproj.io/", "source.toolkit.fluxcd.io/", "kustomize.toolkit.fluxcd.io/", "kustomize.config.k8s.io/")
MANIFESTS = sorted(path for path in EXAMPLES.rglob("*.yaml") if "resource_customizations" not in path.parts)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_is_valid(cluster: control_plane.Cluster, namespace: str, path: Path) -> None:
    objects = [obj for obj in yaml.safe_load_all(path.read_text()) if obj]
    assert objects
    ours = [obj for obj in objects if not obj["apiVersion"].startswith(ELSEWHERE)]
    for obj in ours:
        # Each may name the namespace that it is meant for; here it is this test's.
        obj["metadata"]["namespace"] = namespace
    if ours:
        given = yaml.safe_dump_all(ours)
        cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-", input=given)


def test_the_site_builds(cluster: control_plane.Cluster, namespace: str) -> None:
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-k", f"{EXAMPLES}/gitops/site")
