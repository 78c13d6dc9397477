"""What a run saves, where, and what it resumes from."""
