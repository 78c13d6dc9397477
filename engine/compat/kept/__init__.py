"""Small things that exist for old programs only: the engine itself uses none of them."""
