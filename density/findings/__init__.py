"""What the papers found, asked of a corpus: claims with their verdicts, figures, and one page that opens offline.

Read in this order: `data` (datasets as tables), `estimates` (numbers with intervals), `verdicts` (what is said of
them), `claims`, `figures`, `document` (all of it as plain data), `report` (as HTML), `table` (as a terminal shows it),
`command` (the command line).
"""
