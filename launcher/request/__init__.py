"""What the user asked for, as a job and its cluster. May import clusters, rundir and core."""
