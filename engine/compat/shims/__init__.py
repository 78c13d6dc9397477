"""Classes and functions of Lightning that are kept for old programs only."""
