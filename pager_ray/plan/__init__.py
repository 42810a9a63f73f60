"""Before a job: what it will take, from a few of its own panoramas."""
