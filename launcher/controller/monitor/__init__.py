"""Following one attempt, from the start of its ranks until none is left; may import agents."""
