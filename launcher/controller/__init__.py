"""One run with this process at its head. May import request, clusters, agent, rundir and core."""
