"""What the engine takes of torch that torch does not promise."""
