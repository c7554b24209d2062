"""Measurements of this machine: ``python -m bench.engine``, ``page``, ``corpus`` and ``soak``.

``bench.examples`` measures the precomputed examples anew.
"""
