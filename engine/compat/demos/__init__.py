"""Models and data that the examples of Lightning import."""
