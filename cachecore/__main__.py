"""``python -m cachecore`` is the daemon."""

import sys

from .cli import main

sys.exit(main())
