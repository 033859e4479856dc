"""Components of blocks joined: those of the whole volume, whatever the blocks, also after a crash."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.segmentation.components import find_components, id_dtype, label_block
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box

SHAPE = (13, 10, 15)
BLOCKS = [SHAPE, (6, 6, 6), (13, 10, 1), (4, 1, 15)]


def noise(density, seed=0):
    return np.random.default_rng(seed).random(SHAPE) < density


def reference(mask, connectivity):
    """scipy.ndimage.label of the whole, numbered from 1 by the first voxel of each component."""
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, {6: 1, 26: 3}[connectivity]))
    values, firsts = np.unique(labels, return_index=True)
    renumbered = np.zeros(count + 1, np.int64)
    renumbered[values[values > 0][np.argsort(firsts[values > 0])]] = np.arange(1, count + 1)
    return renumbered[labels]


def job(folder, block_shape, num_threads=2):
    return BlockJob(folder, block_shape, num_threads, {"mask": "noise"})


def found(mask, folder, block_shape, connectivity):
    work = job(folder, block_shape)
    components = find_components(
        lambda box: mask[box.slices], mask.shape, connectivity=connectivity, job=work, label="noise"
    )
    labels = np.zeros(mask.shape, np.int64)
    for index, box in work.blocks(Box.of_shape(mask.shape)):
        labels[box.slices] = components.paint(index, mask[box.slices], np.arange(1, len(components) + 1))
    return components, labels


@pytest.mark.parametrize("block_shape", BLOCKS)
@pytest.mark.parametrize(("connectivity", "density"), [(6, 0.3), (26, 0.1)])
def test_equals_the_components_of_the_whole(tmp_path, block_shape, connectivity, density):
    mask = noise(density)
    components, labels = found(mask, tmp_path, block_shape, connectivity)
    np.testing.assert_array_equal(labels, reference(mask, connectivity))
    np.testing.assert_array_equal(components.sizes, np.bincount(labels[mask])[1:])
    np.testing.assert_array_equal(labels.ravel()[components.firsts], np.arange(1, len(components) + 1))
    inside = np.zeros(SHAPE, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    np.testing.assert_array_equal(np.flatnonzero(components.at_border) + 1, np.setdiff1d(labels[mask & ~inside], [0]))


def test_a_spiral_through_all_blocks_is_one(tmp_path):
    mask = np.zeros((4, 16, 16), bool)
    mask[1, ::2] = True  # rows, joined at alternating ends
    mask[1, 1::4, -1] = mask[1, 3::4, 0] = True
    mask[3, 15, 15] = True
    components, labels = found(mask, tmp_path, (2, 4, 4), 6)
    assert components.sizes.tolist() == [mask.sum() - 1, 1]
    assert labels[3, 15, 15] == 2


@pytest.mark.parametrize("corner", [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)])
@pytest.mark.parametrize(("connectivity", "count"), [(6, 2), (26, 1)])
def test_blocks_that_meet_in_a_corner(tmp_path, corner, connectivity, count):
    mask = np.zeros((4, 4, 4), bool)
    mask[tuple(1 + c for c in corner)] = mask[tuple(2 - c for c in corner)] = True
    assert len(found(mask, tmp_path, (2, 2, 2), connectivity)[0]) == count


def test_an_empty_mask_has_none(tmp_path):
    components, labels = found(np.zeros(SHAPE, bool), tmp_path, (7, 7, 8), 6)
    assert len(components) == 0 and not labels.any()


def test_interrupted_and_started_again_equals_uninterrupted(tmp_path):
    mask, reads = noise(0.3), []

    def read(box):
        if len(reads) == 5:
            raise OSError("disk gone")
        reads.append(box)
        return mask[box.slices]

    with pytest.raises(RuntimeError, match="disk gone"):
        find_components(read, SHAPE, connectivity=6, job=job(tmp_path, (7, 7, 8), 1), label="noise")
    again = []
    components = find_components(
        lambda box: again.append(box) or mask[box.slices],
        SHAPE,
        connectivity=6,
        job=job(tmp_path, (7, 7, 8)),
        label="noise",
    )
    assert len(again) == 2 * 2 * 2 - 5
    whole, _ = found(mask, tmp_path / "whole", SHAPE, 6)
    for name in ("sizes", "firsts", "at_border"):
        np.testing.assert_array_equal(getattr(components, name), getattr(whole, name))


def test_finished_reads_nothing_again(tmp_path):
    mask = noise(0.3)
    before, _ = found(mask, tmp_path, (7, 7, 8), 6)
    after = find_components(None, SHAPE, connectivity=6, job=job(tmp_path, (7, 7, 8)), label="noise")
    np.testing.assert_array_equal(before.pieces, after.pieces)


def test_a_mask_that_changed_is_refused(tmp_path):
    mask = noise(0.3)
    components, _ = found(mask, tmp_path, SHAPE, 6)
    with pytest.raises(ValueError, match=r"block 0 has 1 pieces, and had \d+ .* remove what this job wrote"):
        components.paint(0, np.ones(SHAPE, bool), np.arange(len(components)))


def test_unknown_connectivity_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"connectivity=8 is not known in 3D; give 6 .* or 26"):
        find_components(None, SHAPE, connectivity=8, job=job(tmp_path, SHAPE), label="noise")


def test_ids_beyond_four_billion_get_more_room():
    assert (id_dtype(0), id_dtype(2**32)) == (np.uint32, np.uint64)
    assert label_block(np.ones((2, 2, 2), bool), 6)[0].max() == 1
