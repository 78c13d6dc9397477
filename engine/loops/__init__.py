"""The loops: fit, evaluate, predict, optimize."""
