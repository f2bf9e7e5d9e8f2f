"""The charts as far as no cluster is needed: what in them is made from elsewhere, and what their READMEs say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
from vmext_operator import __version__

CHARTS = sorted(path.parent for path in charts.ROOT.glob("*/Chart.yaml"))


def by_name(chart: Path) -> str:
    return chart.name


def test_what_is_made_from_elsewhere_is_up_to_date() -> None:
    assert charts.differences(charts.ROOT, charts.made(charts.ROOT)) == [], "run `make charts`"


def test_a_change_elsewhere_is_noticed_and_brought_in(tmp_path: Path) -> None:
    root = tmp_path / "charts"
    wanted = charts.made(charts.ROOT)
    assert charts.write(root, wanted) == sorted(map(str, wanted))
    (root / "vmext/files/crds/goalstates.yaml").write_text("changed by hand")
    (root / "vmext/files/crds/gone.yaml").write_text("of a kind that is no more")
    assert charts.write(root, wanted) == ["vmext/files/crds/goalstates.yaml", "vmext/files/crds/gone.yaml"]
    assert charts.differences(root, wanted) == []


@pytest.mark.parametrize("chart", CHARTS, ids=by_name)
def test_every_value_is_explained_in_the_readme_and_in_the_schema(chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = yaml.safe_load((chart / "values.schema.json").read_text())
    table = set(re.findall(r"^\| `([^`]+)`", (chart / "README.md").read_text(), re.MULTILINE))
    named = set(leaves(values))
    assert named - table == set()
    for name in named:
        at = schema
        for part in name.split("."):
            at = at["properties"][part]
            if "$ref" in at:
                at = schema["definitions"][at["$ref"].rpartition("/")[2]]


def leaves(values: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        name = f"{before}{key}"
        # What has words of Kubernetes' or the user's own in it is explained as a whole.
        if isinstance(value, dict) and value and key not in ("resources", "dashboardLabels"):
            found += leaves(value, f"{name}.")
        else:
            found.append(name)
    return found


@pytest.mark.parametrize("chart", CHARTS, ids=by_name)
def test_a_charts_app_is_the_operator_of_this_house(chart: Path) -> None:
    assert yaml.safe_load((chart / "Chart.yaml").read_text()).get("appVersion", __version__) == __version__
