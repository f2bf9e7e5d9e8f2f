"""The vmext operator: declared extensions in, one goal state a machine out.

The layers, each importing only those before it: ``api`` (the kinds as values), ``core`` (decisions, pure functions),
``cluster`` (the API server), ``control`` (what turns decisions into action).
"""

__version__ = "0.1.0"
