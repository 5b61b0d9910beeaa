"""Scripts that measure what the README claims. Not part of the installed package."""
