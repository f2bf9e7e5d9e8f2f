"""The chart vmext-catalog: the entries of `make packages`, at the addresses that are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import charts
import packages
from development.api import Api
from development.operator_process import ROOT
from helm import Helm, HelmError
from packages.source import CATALOG_FILE
from support import manifests

CHART = charts.ROOT / "vmext-catalog"
URL = "https://packages.example.com/vmext"


@pytest.fixture
def built(tmp_path: Path) -> dict[str, Any]:
    """The specs of what `make packages` makes, by name."""
    sources = sorted(path.parent for path in (ROOT / "extensions").glob(f"*/{CATALOG_FILE}"))
    made = packages.build_all(sources, tmp_path, URL)
    return {package.manifest["metadata"]["name"]: package.manifest["spec"] for package in made}


def specs(objects: list[dict[str, Any]]) -> dict[str, Any]:
    assert {obj["kind"] for obj in objects} == {"VirtualMachineExtensionImage"}
    return {obj["metadata"]["name"]: obj["spec"] for obj in objects}


def test_it_holds_what_make_packages_makes_and_nothing_else(helm: Helm, api: Api, built: dict[str, Any]) -> None:
    objects = helm.template(CHART, values={"baseUrls": [f"{URL}/"]})
    assert specs(objects) == built
    assert {obj["metadata"]["annotations"]["helm.sh/resource-policy"] for obj in objects} == {"keep"}
    manifests.dry_run(api, objects)


def test_entries_can_be_withdrawn_limited_and_served_from_several_places(
    helm: Helm, api: Api, built: dict[str, Any]
) -> None:
    name = next(iter(built))
    values = {
        "baseUrls": [URL, "http://10.0.0.1:8000"],
        "withdrawn": [name],
        "locations": {name: ["one", "two"]},
        "keep": False,
    }
    objects = helm.template(CHART, values=values)
    found = specs(objects)[name]
    assert found["withdrawn"] is True
    assert found["locations"] == ["one", "two"]
    (url,) = built[name]["package"]["urls"]
    assert found["package"]["urls"] == [url, url.replace(URL, "http://10.0.0.1:8000")]
    assert all("annotations" not in obj["metadata"] for obj in objects)
    manifests.dry_run(api, objects)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "baseUrls is empty: set it to where machines find the packages"),
        ({"baseUrls": ["packages.example.com"]}, "does not match pattern"),
        ({"baseUrls": [URL], "withdrawn": ["vmext.unknown-1.0"]}, "this chart has no entry vmext.unknown-1.0; it has "),
        ({"baseUrls": [URL], "locations": {"vmext.unknown-1.0": []}}, "this chart has no entry vmext.unknown-1.0"),
        ({"baseUrl": URL}, "'baseUrl' not allowed"),
    ],
)
def test_what_is_wrong_is_said(helm: Helm, values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as raised:
        helm.template(CHART, values=values)
    assert said in raised.value.said


def test_it_lints(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), values={"baseUrls": [URL]})
