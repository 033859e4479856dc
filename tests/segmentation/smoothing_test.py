"""The Gaussian over a probability: blocks equal the whole, and it spreads in nm."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.segmentation.smoothing import smooth_volume
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.volume import create_volume

SIZE_NM = (8.0, 4.0, 4.0)


def volumes(folder, values):
    made = []
    for name in ("probability", "smooth"):
        made.append(
            create_volume(
                f"{folder}/cell.zarr/{name}",
                shape=values.shape,
                dtype="uint8",
                voxel_size_nm=SIZE_NM,
                chunk_shape=(8, 8, 8),
            )
        )
    made[0].write(made[0].box, values)
    return made


@pytest.mark.parametrize("block_shape", [(8, 8, 8), (16, 8, 32)])
def test_blocks_equal_the_whole_bit_for_bit(tmp_path, block_shape):
    values = np.random.default_rng(0).integers(0, 256, (14, 20, 27)).astype(np.uint8)
    probability, smooth = volumes(tmp_path, values)
    smooth_volume(probability, smooth, sigma_nm=10.0, job=BlockJob(tmp_path / "job", block_shape, 2, {}))
    whole = ndimage.gaussian_filter(values.astype(np.float32), (1.25, 2.5, 2.5), mode="mirror", truncate=4.0)
    np.testing.assert_array_equal(smooth.read(smooth.box), np.rint(whole).astype(np.uint8))


@pytest.mark.parametrize("sigma_nm", [0.0, -1.0])
def test_what_smooths_nothing_is_refused(tmp_path, sigma_nm):
    probability, smooth = volumes(tmp_path, np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=rf"smoothing_nm={sigma_nm} smooths nothing; give .* or None"):
        smooth_volume(probability, smooth, sigma_nm=sigma_nm, job=BlockJob(tmp_path, (8, 8, 8), 1, {}))
