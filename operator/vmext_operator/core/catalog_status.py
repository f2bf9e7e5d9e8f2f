"""What a catalog entry's status says: why it can't be used, for whoever wrote it and not only for who asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmext_operator.api import conditions
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.core.reasons import Reason


def project(image: ExtensionImage, fault: str, now: str) -> Mapping[str, Any]:
    """Return the status that a catalog entry should have.

    One that can be used, and of which nothing else was ever said, has none: that counts as ready (kstatus), and a
    catalog costs no writes.

    Args:
        image: the entry.
        fault: what is wrong with a schema of it, empty for nothing.
        now: the time as the API writes it.
    """
    if image.refused:
        wanted = conditions.stalled(Reason.SIGNATURE_INVALID.value, image.refused)
    elif fault:
        wanted = conditions.stalled(
            Reason.INVALID_SCHEMA.value, f"{fault}; correct it: no machine is given this version"
        )
    elif image.status:
        wanted = conditions.ready(Reason.USABLE.value, "it can be chosen")
    else:
        return {}
    generation, current = image.meta.generation, image.status.get("conditions") or ()
    return {
        "observedGeneration": generation,
        "conditions": conditions.render(wanted, current, generation, now),
    }
