"""A template as a whole: its parameters settled, its variables named, its resources found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_vmext.arm import az_output, evaluate, parameters, resources
from kubectl_vmext.arm.errors import ArmError
from kubectl_vmext.arm.parameters import Parameters
from kubectl_vmext.arm.resources import Found


def read(
    document: object, files: Sequence[Mapping[str, Any]], words: Mapping[str, str], location: str | None
) -> tuple[Found, Parameters]:
    """Return what a template, or what the az command printed, holds.

    Args:
        document: as JSON has it.
        files: parameter files.
        words: parameters from the command line.
        location: what ``resourceGroup().location`` stands for.

    Raises:
        ArmError: it is neither, or a parameter is wrong.
    """
    if az_output.is_output(document):
        return az_output.find(document), Parameters({}, {})
    if not isinstance(document, dict):
        raise ArmError("neither a template nor what az vm extension list prints")
    from_files = {name: value for file in files for name, value in parameters.of_file(file).items()}
    known = parameters.settled(document.get("parameters"), from_files, words)
    variables = {} if document.get("variables") is None else document["variables"]
    if not isinstance(variables, dict):
        raise ArmError("the template's `variables` are no object")
    lowered = {name.lower(): value for name, value in variables.items()}
    return resources.find(document, evaluate.Scope(known.given, known.defaults, lowered, location)), known
