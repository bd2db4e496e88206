"""What it costs to generate the completions that a reinforcement objective learns from: memory, and time."""
