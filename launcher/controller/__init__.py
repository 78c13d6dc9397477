"""One run, led by this process. May import request, clusters, agent, rundir and core."""
