"""What a user may say: one row for each argument. Knows no network."""
