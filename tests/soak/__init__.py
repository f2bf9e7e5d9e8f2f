"""The soak: suites of random tests in full counts, seeded, resumable; ``make test`` runs a slice of each.

A suite is anything that has the form of ``suite.Suite``; one line in ``suites.py`` makes it part of ``make soak``.
"""
