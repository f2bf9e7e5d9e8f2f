"""ARM templates to manifests: parse, evaluate, pick machines and extensions, render. Pure functions, no I/O.

A template comes from anywhere: nothing in it makes this run for long, grow without bound or fail with a traceback.
"""
