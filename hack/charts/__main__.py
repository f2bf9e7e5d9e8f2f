"""Bring the made files of the charts up to date (``make charts``)."""

from __future__ import annotations

from charts.content import ROOT, made, write

if __name__ == "__main__":
    for path in write(ROOT, made(ROOT)):
        print(path)
