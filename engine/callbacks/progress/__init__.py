"""Callbacks that show a person how far the run is."""
