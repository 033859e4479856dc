"""Parameters and raw -> probabilities: the plan of a sweep and the jitted sliding window."""
