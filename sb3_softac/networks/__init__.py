"""Networks of SoftAC: actors, critics, and the distributions that actors compute."""
