"""Parts of :mod:`benchmarks.reliability`: each measures one promise, and returns rows for a table."""
