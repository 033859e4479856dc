"""Numbers: how good a segmentation is."""
