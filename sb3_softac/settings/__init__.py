"""Arguments of SoftAC and of its policy: one row for each, and the checks of their values. Imports no network."""
