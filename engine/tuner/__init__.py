"""Tuning: a learning rate and a batch size, found by trials that leave no trace."""

from engine.tuner.tuner import Tuner

__all__ = ["Tuner"]
