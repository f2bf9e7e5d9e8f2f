"""Everything of vmext running on this machine: what the demo, the tests and the benchmarks stand on.

A control plane, the operator as a process, an address that serves the packages, and simulated guests with an agent in
each. All of it real; all of it gone when the one who started it is.
"""
