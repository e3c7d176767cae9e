"""`python -m ladder` is the ladder check."""

import sys

from .check import main

sys.exit(main())
