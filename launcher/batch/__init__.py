"""Runs in SLURM's queue, and how a user's jobs stand, wherever they run.

May import controller, request, clusters, rundir and core.
"""
