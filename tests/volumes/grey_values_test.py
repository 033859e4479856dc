"""Percentiles of samples: counted by hand, mirrored by inversion, unmoved by margins."""

from pathlib import Path

import numpy as np

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.grey_values import all_equalised, inverted, percentiles, sample_blocks, sample_percentiles
from tests.phantoms import write_volume


def test_percentiles_are_those_of_all_blocks_together() -> None:
    values = np.repeat(np.arange(1, 101, dtype=np.uint8), 100)
    np.random.default_rng(0).shuffle(values)
    assert percentiles([values[:3000], values[3000:].reshape(7, 1000)]) == (1.5, 25.5, 50.5, 75.5, 99.5)


def test_inversion_mirrors_percentiles() -> None:
    values = np.random.default_rng(1).integers(3, 240, 5000).astype(np.uint8)
    values[:2500] = 77
    found = percentiles([values])
    assert found is not None
    assert percentiles([255 - values]) == inverted(found)
    assert found != inverted(found)


def test_margins_and_saturation_do_not_count() -> None:
    tissue = np.random.default_rng(2).integers(60, 190, (16, 16, 16)).astype(np.uint8)
    around = np.pad(tissue, 8)
    assert percentiles([around]) == percentiles([255 - np.pad(255 - tissue, 8)]) == percentiles([tissue])


def test_a_sample_that_says_nothing_gives_nothing() -> None:
    assert percentiles([np.zeros((64, 64, 64), np.uint8)]) is None
    assert percentiles([np.full(999, 9, np.uint8)]) is None


def test_blocks_reach_from_end_to_end_and_stay_inside() -> None:
    box = Box((5, 0, 0), (105, 33, 500))
    blocks = sample_blocks(box)
    assert len(set(blocks)) == 3 * 2 * 3
    assert all(box.contains(block) and block.shape == (32, 32, 32) for block in blocks)
    assert min(block.start for block in blocks) == box.start
    assert max(block.stop for block in blocks) == box.stop


def test_a_volume_is_sampled_within_its_box(tmp_path: Path) -> None:
    array = np.full((40, 40, 200), 50, np.uint8)
    array[..., 100:] = 180
    raw = write_volume(tmp_path / "cell.zarr/raw", array)
    assert sample_percentiles(raw, Box((0, 0, 0), (40, 40, 100))) == (50.0,) * 5
    assert sample_percentiles(raw, Box((0, 0, 100), (40, 40, 200))) == (180.0,) * 5
    assert sample_percentiles(raw, raw.box) == (50.0, 50.0, 115.0, 180.0, 180.0)


def test_equalisation_is_known_where_all_volumes_say_the_same(tmp_path: Path) -> None:
    said = {"yes": {"equalised": True}, "also": {"equalised": True}, "no": {"equalised": False}, "unknown": {}}
    array = np.zeros((1, 1, 1), np.uint8)
    volumes = {name: write_volume(tmp_path / f"cell.zarr/{name}", array, attributes=a) for name, a in said.items()}
    for names, expected in [
        ("yes also", True),
        ("no", False),
        ("yes no", None),
        ("yes unknown", None),
        ("unknown", None),
    ]:
        assert all_equalised(volumes[name] for name in names.split()) is expected
