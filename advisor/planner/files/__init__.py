"""What a person writes for a plan: jobs, fleets, times."""
