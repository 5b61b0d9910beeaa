"""Acting in the environment, and storing what it answers."""
