"""The files of a run, and the index of a user's runs. May import core."""
