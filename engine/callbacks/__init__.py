"""Callbacks: one member, one small file."""
