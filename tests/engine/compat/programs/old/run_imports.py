"""Runs every import statement of a file; writes those that fail, and why, as JSON."""

import json
import sys
import traceback
import warnings
from pathlib import Path

warnings.simplefilter("error")
statements, result = map(Path, sys.argv[1:])
failed = {}
for line in statements.read_text().splitlines():
    if line and not line.startswith("#"):
        try:
            exec(line, {})
        except BaseException:
            failed[line] = traceback.format_exc().splitlines()[-1]
result.write_text(json.dumps(failed))
