"""Which rank reads which samples, and how batches get to the device."""
