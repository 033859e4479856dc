"""The count of multiplications against the shapes of the convolutions that a network makes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models.costs import multiplications, per_voxel, widths
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.unet import Convolution, UNet
from tests.phantoms import NARROW_NETWORKS


@pytest.mark.parametrize("name", NARROW_NETWORKS)
def test_every_convolution_of_the_network_is_counted(name: str) -> None:
    architecture = NARROW_NETWORKS[name]
    shape = valid_input_shape((1, 1, 1), architecture)
    network, raw = UNet(architecture), jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32)
    own = Convolution
    _, state = jax.eval_shape(
        lambda x: network.init_with_output(
            jax.random.key(0), x, capture_intermediates=lambda module, _: isinstance(module, own)
        ),
        raw,
    )
    found = 0.0
    heads = {head.name for head in architecture.heads[1:]}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state["intermediates"]):
        names = [entry.key for entry in path[:-2]]
        if names[0] in heads:
            continue
        kernel = state["params"]
        for entry in names:
            kernel = kernel[entry]
        found += float(np.prod(kernel["kernel"].shape)) * float(np.prod(leaf.shape[1:4]))
    assert multiplications(shape, architecture) == pytest.approx(found, rel=1e-9)
    assert len(per_voxel(architecture)) == widths([shape[0]], architecture, 0).shape[1]


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="3 voxels along axis 1 do not fit the network"):
        widths([3], NARROW_NETWORKS["asem"], 1)
