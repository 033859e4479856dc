"""The reticulum joins the envelope, bears ribosomes, and keeps off everything else."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from asem_jax.simulation import simulate_block
from asem_jax.simulation.surfaces import Surface, site
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import CELLS, PERFECT

COARSE = replace(CELLS, microscope=PERFECT, voxel_size_nm=(12.0, 12.0, 12.0), texture_grey=0.0)
CENTRE = site(COARSE, (0, 0, 0)).centres_nm[Surface.ENVELOPE]
START = (CENTRE / 12).astype(int)
BOX = Box.of_shape((48, 60, 60), START.tolist())


def test_it_runs_into_the_envelope_and_nowhere_else():
    block = simulate_block(COARSE, BOX)
    er, envelope = (block.labels(name) > 0 for name in ("er", "nuclear_envelope"))
    assert 0.005 < er.mean() < 0.3
    assert (ndimage.binary_dilation(envelope) & er).any()
    for other in ("nucleus", "mito", "nuclear_pores", "coated_pits"):
        assert not (ndimage.binary_dilation(block.labels(other) > 0) & er).any()


def test_ribosomes_darken_the_cytosol():
    with_some, without = (
        simulate_block(replace(COARSE, whole=replace(COARSE.whole, ribosome_share=share)), BOX) for share in (0.6, 0.0)
    )
    np.testing.assert_array_equal(with_some.objects, without.objects)
    darker = with_some.raw < without.raw - 20
    assert 0.002 < darker.mean() < 0.2 and not (with_some.raw > without.raw + 1).any()
    assert not (darker & (with_some.labels("nucleus") > 0)).any()
