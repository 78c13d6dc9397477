"""The project's speed beside its peers': ``python -m benchmarks [--quick] [name ...]``."""
