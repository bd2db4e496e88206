"""What a user may ask: the names, the arguments of each verb, and what is said where they make no sense."""
