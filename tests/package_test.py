"""The package itself: quick to import, with the public names that a notebook needs."""

import subprocess
import sys

import pytest

import asem_jax


def test_import_is_light():
    heavy = "{'jax', 'numpy', 'tensorstore', 'flax'}"
    program = f"import sys, asem_jax; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", asem_jax.__all__)
def test_public_names_are_there(name):
    assert getattr(asem_jax, name).__name__ == name
    assert name in dir(asem_jax)


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'open_volum'; it offers Box, Ensemble, Model"):
        _ = asem_jax.open_volum
