"""One training batch, in each way that a module may be stepped."""
