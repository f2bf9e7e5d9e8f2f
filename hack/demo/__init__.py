"""The demo: everything of vmext on this machine, two extensions applied, and what came of them."""
