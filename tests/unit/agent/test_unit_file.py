"""The agent's systemd unit: what a machine with a bad day needs of it."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from vmext_agent import __main__

UNIT = Path(__file__).resolve().parents[3] / "agent/systemd/vmext-agent.service"


@pytest.fixture(name="unit")
def _unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    return parser


def test_it_never_gives_up_but_for_what_starting_again_cannot_help(unit: configparser.ConfigParser) -> None:
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "always"
    assert unit["Service"]["RestartPreventExitStatus"] == "2 3"


def test_a_boot_without_network_does_not_keep_it_waiting(unit: configparser.ConfigParser) -> None:
    assert "network-online" not in " ".join(unit["Unit"].values())


def test_its_end_ends_no_extension_and_its_standard_error_is_the_journals(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["KillMode"] == "process"
    assert "StandardError" not in unit["Service"]


@pytest.mark.parametrize("key", ["ExecStart", "ExecStop"])
def test_what_it_runs_is_known(unit: configparser.ConfigParser, key: str) -> None:
    program, command = unit["Service"][key].lstrip("-").split()

    assert program == "/usr/bin/vmext-agent"
    assert f'"{command}"' in Path(__main__.__file__).read_text()
