"""``python -m launcher`` is ``plaunch``."""

import sys

from launcher.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
