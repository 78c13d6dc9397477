"""Old names and forms on the engine's own classes."""
