"""Machines enrolled in bulk and renewed, against a real API server and the real operator."""
