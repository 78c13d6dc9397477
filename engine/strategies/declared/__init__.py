"""What a user may pass in place of a strategy's name."""
