"""Labels and objects."""
