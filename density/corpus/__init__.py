"""Many texts and many models into one Parquet dataset, a row a prediction; stopped and taken up again at any moment.

Read in this order: `sources` (the texts), `curve` and `rows` (what is measured of one text), `dataset` (what is on
disk), `run` (one machine), `cluster` (Dask), `command` (the command line).
"""
