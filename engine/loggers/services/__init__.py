"""Loggers of other services: imported only where they are asked for."""
