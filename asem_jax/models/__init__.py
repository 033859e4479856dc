"""Networks, what surrounds them, and their files."""
