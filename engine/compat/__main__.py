"""python -m engine.compat NAME [-m] SCRIPT [ARGS]."""

from engine.compat.imports.program import main

main()
