"""What the plugin says instead of a traceback."""

from __future__ import annotations


class PluginError(Exception):
    """Something that the one who runs the command can read and act on."""
