"""Loggers: one member, one small file."""
