"""Hyper-parameters: collected, kept, and given back when a checkpoint is loaded."""
