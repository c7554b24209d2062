"""Measurements of this machine: ``python -m bench.engine`` and ``python -m bench.page``."""
