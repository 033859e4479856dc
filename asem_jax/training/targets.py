"""Labels -> what each voxel of the network's output should say.

A target is the index of the output channel: 0 background, k the k-th organelle. A voxel that two organelles
claim teaches neither: it is left out of the loss, where the original made it background.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def class_target(
    labels: Sequence[npt.NDArray[np.integer]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Merges the labels of several organelles.

    Args:
      labels: one array z y x per organelle, in the order of the output channels; non-zero = organelle.

    Returns:
      The target, uint8 z y x, and a mask, bool z y x, that is False where two organelles claim a voxel.

    Source: Gallusser et al., J Cell Biol 2023 (code), which sets such voxels to background.

    Example:
      >>> target, mask = class_target([np.array([[[1, 0, 1]]]), np.array([[[0, 7, 1]]])])
      >>> target.tolist(), mask.tolist()
      ([[[1, 2, 0]]], [[[True, True, False]]])
    """
    claims = np.stack([array != 0 for array in labels])
    number = claims.sum(axis=0)
    target = np.where(number == 1, claims.argmax(axis=0) + 1, 0)
    return target.astype(np.uint8), number < 2
