"""What the charts hold that is made from elsewhere in the house, since a chart takes files from its own folder only."""

from charts.content import ROOT, differences, made, write

__all__ = ["ROOT", "differences", "made", "write"]
