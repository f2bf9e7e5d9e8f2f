"""The operator at the size of a fleet: simulated agents, a real API server, and how many writes that one can take."""
