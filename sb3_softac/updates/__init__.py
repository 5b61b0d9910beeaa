"""One gradient step of each variant, and the engine that runs it."""
