"""python -m engine.compat NAME [-m] SCRIPT [ARGS]."""

from engine.compat.program import main

main()
