"""Where an epoch's data ends, on one rank and on all."""
