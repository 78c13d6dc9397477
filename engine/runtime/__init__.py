"""What a process of a run stands on: settings, seeds, data, ranks and files.

Imports no other package of the engine.
"""
