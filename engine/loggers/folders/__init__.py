"""Loggers that write files into the folder of the run. May import: `engine.loggers`, `runtime`."""
