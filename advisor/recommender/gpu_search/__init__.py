"""Which GPU to take for a job: every card that is meant, priced for the best recipe on it, and ranked."""
