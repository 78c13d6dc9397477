"""What happens in a test's own process leaves nothing behind, as in the engine's tests."""

from tests.engine.conftest import _seed_as_before, _signals_as_before

__all__ = ["_seed_as_before", "_signals_as_before"]
