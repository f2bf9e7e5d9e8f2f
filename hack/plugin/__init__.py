"""Builds the kubectl plugin: a wheel, and one file that holds all it needs."""
