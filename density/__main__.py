"""``python -m density``."""

import sys

from density.cli import main

sys.exit(main())
