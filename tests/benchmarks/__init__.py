"""Figures of vmext on real parts; ``make bench`` prints them and writes build/bench.json."""
