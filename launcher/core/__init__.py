"""Data and functions that every package uses. Imports nothing else of ours."""
