"""Inputs nobody would write, for every parser of what comes from outside; run by ``python -m tests.fuzz``."""
