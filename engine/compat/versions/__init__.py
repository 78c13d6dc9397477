"""What a program is told of the version it was written for."""
