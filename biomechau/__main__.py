"""``python -m biomechau``: the command ``biomechau``."""

import sys

from biomechau.cli import main

sys.exit(main())
