"""The API reference under docs/reference, rendered from the kinds themselves: ``make reference``."""

from reference.render import FOLDER, pages

__all__ = ["FOLDER", "pages"]
