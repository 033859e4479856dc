"""Arrays on disk with a place in nanometres: the only room that knows how they are stored."""
