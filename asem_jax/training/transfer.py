"""Parameters of one network taken over into another, by name and shape."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import jax

from asem_jax.models.model import Params
from asem_jax.training.optimizer import name_of


class Transfer(NamedTuple):
    """Parameters to start from, and what was not the same in both networks.

    Attributes:
      params: of the new network.
      fresh: names of those that keep their initial values.
      unused: names of those of the other network that are not taken.
    """

    params: Params
    fresh: list[str]
    unused: list[str]


def take_over(initial: Params, found: Params, *, new: Sequence[str]) -> Transfer:
    """Returns the parameters of a network, those of another wherever name and shape are the same.

    Args:
      initial: of the network, before training.
      found: of the other one.
      new: patterns of the names that need not be found, and are not taken; see `optimizer.matches`.

    Raises:
      ValueError: a parameter that is not `new` is missing or has another shape.
    """
    wanted, there = _by_name(initial), _by_name(found)
    fresh = [name for name in wanted if any(fnmatchcase(name, pattern) for pattern in new)]
    differ = {
        name: there[name].shape if name in there else "not there"
        for name, leaf in wanted.items()
        if name not in fresh and (name not in there or there[name].shape != leaf.shape)
    }
    if differ:
        name, shape = next(iter(differ.items()))
        raise ValueError(
            f"{len(differ)} of {len(wanted)} parameters do not fit: {name} is {shape}, not {wanted[name].shape}; "
            f"make config.network that of its training, or add to init_new what shall begin anew, such as "
            f"{name.rpartition('/')[0]}/*."
        )
    taken = {name: there[name] for name in wanted if name not in fresh}
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: taken.get(name_of(path), leaf), initial)
    return Transfer(params, fresh, sorted(there.keys() - taken.keys()))


def _by_name(params: Params) -> dict[str, jax.Array]:
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
