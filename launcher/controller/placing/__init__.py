"""Which nodes and GPUs a run gets, and what is wrong with them."""
