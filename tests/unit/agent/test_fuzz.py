"""The seeded slice of the fuzzing (``make soak`` runs it in full), the fixed cases, and what it must find."""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from soak import fuzzer, mutation, targets
from soak.fuzz import TARGETS, Fuzz

SEED = 1
CASES = Path(__file__).resolve().parents[2] / "fuzz_cases"
#: Inputs of the slice, by target, where it is not the usual number.
RAW, STRUCTURED = 10_000, 500
FEWER = {"archive": (2000, 100), "state_files": (3000, 300)}


def tried(arguments: list[str]) -> tuple[int, str]:
    """Try one input in a process of its own, as a person would; return its exit code and what it says."""
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "soak.fuzzer", *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout.strip() + ended.stderr.strip()


def test_there_is_a_suite_for_every_target() -> None:
    assert set(TARGETS) == set(targets.MAKERS)


@pytest.mark.parametrize("name", TARGETS)
def test_raw_bytes_do_no_harm(name: str, tmp_path: Path) -> None:
    count = FEWER.get(name, (RAW, STRUCTURED))[0]

    assert Fuzz(name, name, fuzzer.ATHERIS, count, count, found=tmp_path).run(SEED, count) == []


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_near_the_schema_does_no_harm(name: str, tmp_path: Path) -> None:
    count = FEWER.get(name, (RAW, STRUCTURED))[1]

    assert Fuzz(name, name, fuzzer.STRUCTURE, count, count, found=tmp_path).run(SEED, count) == []


@pytest.mark.parametrize("path", sorted(CASES.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_did_harm_does_none(path: Path) -> None:
    assert tried([path.parent.name, "--input", str(path)]) == (0, "nothing")


@pytest.mark.parametrize("engine", [fuzzer.ATHERIS, fuzzer.MUTATOR, fuzzer.STRUCTURE])
def test_every_way_of_feeding_tells_good_from_bad(engine: str, tmp_path: Path) -> None:
    good, bad = (
        Fuzz("x", behaviour, engine, 200, 200, module="soak.misbehaving", found=tmp_path)
        for behaviour in ("good", "raises")
    )

    assert good.run(SEED, 200) == []
    assert {failure.what.partition(" ")[0] for failure in bad.run(SEED, 200)} >= {"KeyError", "TypeError"}


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("hangs", "TooSlowError"),
        ("writes_outside", "ForbiddenError: os.mkdir"),
        ("links", "ForbiddenError: os.symlink"),
        ("devours", "MemoryError"),
        ("dies", "the process ended after 0 of 3 inputs: exit code 3"),
    ],
)
def test_what_no_parser_may_do_is_found(behaviour: str, words: str, tmp_path: Path) -> None:
    found = Fuzz("x", behaviour, fuzzer.MUTATOR, 3, 3, module="soak.misbehaving", found=tmp_path).run(SEED, 3)

    assert re.search(words, found[0].what)
    assert len(list(tmp_path.glob("*/*"))) >= 1
    assert not list(Path("/dev/shm").glob("outside-*"))


def test_a_finding_says_how_to_see_it_again(tmp_path: Path) -> None:
    found = Fuzz("x", "raises", fuzzer.MUTATOR, 50, 50, module="soak.misbehaving", found=tmp_path).run(SEED, 50)

    arguments = shlex.split(found[0].reproduce.partition("soak.fuzzer ")[2])

    code, said = tried(arguments)
    assert (code, said.splitlines()[0]) == (1, found[0].what)


def test_the_same_seed_makes_the_same_inputs() -> None:
    target = targets.MAKERS["manifest"]()

    def made(seed: int) -> list[bytes]:
        draw = random.Random(seed)
        return [mutation.mutated(target.samples[0], target.samples, target.words, draw, 4096) for _ in range(50)]

    assert made(1) == made(1)
    assert made(1) != made(2)
