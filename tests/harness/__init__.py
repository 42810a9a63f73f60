"""Real object storage for tests, and a network between it and a job that fails on demand."""
