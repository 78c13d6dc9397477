"""The agents of a run: their code, and the connection to each. Imports clusters and core."""
