"""Labelled volumes -> parameters: crops, augmentation, targets, losses and the training step."""
