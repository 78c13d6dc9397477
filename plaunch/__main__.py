"""``python -m plaunch`` is ``plaunch``."""

import sys

from plaunch.command import main

if __name__ == "__main__":
    sys.exit(main())
