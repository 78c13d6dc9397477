"""The Trainer: arguments to settings, a run put together, the loops called.

May import everything but tuner and compat.
"""
