"""Equalisation: the original's result, a mirror beyond the border, blocks of any shape, counts by hand, messages."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asem_jax.volumes.clahe import (
    EQUALISATION,
    Equalisation,
    Reader,
    clipped,
    common_equalisation,
    equalised,
    grey_mapping,
)
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.reflect import read_reflected
from tests.phantoms import write_volume

Array = npt.NDArray[Any]


def reader(array: Array) -> Reader:
    return lambda box: array[box.slices]


def equalise(array: Array, kernel: int, clip_limit: float = 0.02) -> Array:
    read = equalised(reader(array), array.shape, kernel_shape=(kernel,) * 3, clip_limit=clip_limit)
    return read(Box.of_shape(array.shape))


def tissue(shape: tuple[int, int, int], seed: int = 0) -> Array:
    """Returns grey values whose brightness and contrast change over the volume."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    grain = np.random.default_rng(seed).normal(0, 1, shape) * (10 + 20 * y)
    return np.clip(100 + 60 * z - 40 * x + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["k16", "k16_clip01", "k24"])
def test_inside_it_is_the_original_bit_for_bit(cases_dir: Path, name: str) -> None:
    case = np.load(cases_dir / "clahe" / f"{name}.npz")
    kernel = json.loads((cases_dir / "clahe" / "expected.json").read_text())[name]["kernel"]
    found = equalise(case["raw"], kernel, float(case["clip_limit"]))
    assert case["interior"].sum() > 8000
    np.testing.assert_array_equal(found[case["interior"]], case["equalized"][case["interior"]])


@pytest.mark.parametrize("kernel", [64, 128])
def test_kernels_of_published_size_too(cases_dir: Path, kernel: int) -> None:
    case = np.load(cases_dir / "clahe" / f"k{kernel}_center.npz")
    raw = case["raw_base"]
    for axis in range(3):
        raw = raw.repeat(int(case["repeat"]), axis=axis)
    start, stop, step = (int(case[f"center_{word}"]) for word in ("start", "stop", "step"))
    read = equalised(reader(raw), raw.shape, kernel_shape=(kernel,) * 3, clip_limit=0.02)
    found = read(Box((start,) * 3, (stop,) * 3))
    np.testing.assert_array_equal(found[::step, ::step, ::step], case["equalized_center"])


def test_beyond_the_border_the_volume_goes_on_mirrored() -> None:
    raw = tissue((20, 33, 17))
    padded = np.pad(raw, 20, mode="reflect")  # as much as one kernel, so that the grid stays where it is
    inside = tuple(slice(20, 20 + n) for n in raw.shape)
    np.testing.assert_array_equal(equalise(raw, 20), equalise(padded, 20)[inside])


def test_blocks_of_any_shape_give_one_result() -> None:
    raw = tissue((40, 36, 50))
    whole = equalise(raw, 20)
    for shape in [(7, 36, 25), (20, 20, 20), (40, 9, 50)]:
        read = equalised(reader(raw), raw.shape, kernel_shape=(20, 20, 20), clip_limit=0.02)
        found = np.empty_like(raw)
        for box in tiles(Box.of_shape(raw.shape), shape):
            found[box.slices] = read(box)
        np.testing.assert_array_equal(found, whole)


def test_no_border_between_blocks_or_at_the_rim_is_flat() -> None:
    raw = tissue((48, 48, 48))
    found = equalise(raw, 16).astype(float)
    rim, middle = found[:, :, :4].std(), found[:, :, 22:26].std()
    assert found.std() > 1.5 * raw.std()
    assert 0.8 < rim / middle < 1.25


def test_a_mapping_is_made_once_and_reads_its_kernel_only() -> None:
    raw, boxes = tissue((32, 32, 32)), []

    def read(box: Box) -> Array:
        boxes.append(box)
        return raw[box.slices]

    function = equalised(read, raw.shape, kernel_shape=(16, 16, 16), clip_limit=0.02)
    blocks = list(tiles(Box.of_shape(raw.shape), (8, 32, 32)))
    for block in blocks:
        function(block)
    assert len(boxes) == 3**3 + len(blocks)
    assert max(max(box.shape) for box in boxes[:27] if box not in blocks) <= 17


def test_threads_that_need_one_mapping_make_it_once() -> None:
    raw, boxes = tissue((32, 32, 32)), []

    def read(box: Box) -> Array:
        boxes.append(box)
        time.sleep(0.002)  # so that others ask meanwhile
        return raw[box.slices]

    function = equalised(read, raw.shape, kernel_shape=(16, 16, 16), clip_limit=0.02)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(function, [Box.of_shape(raw.shape)] * 8))
    assert len(boxes) == 3**3 + 8
    assert all(np.array_equal(one, found[0]) for one in found)


def test_a_volume_is_read_as_if_it_had_been_written_equalised(tmp_path: Path) -> None:
    raw, how = tissue((20, 33, 17)), Equalisation((16, 16, 16), 0.02)
    volume = write_volume(tmp_path / "cell.zarr/raw", raw)
    written = write_volume(tmp_path / "cell.zarr/equalised", equalise(raw, 16))
    read = how.reader(volume)
    for box in (volume.box, volume.box.grow(9), Box((-3, 30, 5), (8, 41, 16))):
        np.testing.assert_array_equal(read(box), read_reflected(written, box))


def test_an_equalisation_is_checked_and_known_from_attributes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kernel_shape=\(16, 15, 16\) has an odd or empty side"):
        Equalisation((16, 15, 16), 0.02)
    how, raw = Equalisation((16, 16, 16), 0.02), tissue((8, 8, 8))
    other = Equalisation((16, 16, 16), 0.03)
    volumes = {
        name: write_volume(tmp_path / f"cell.zarr/{name}", raw, attributes=values and {EQUALISATION: asdict(values)})
        for name, values in {"a": how, "same": how, "other": other, "plain": None}.items()
    }
    assert common_equalisation([volumes["a"], volumes["same"]]) == how
    assert common_equalisation([volumes["a"], volumes["other"]]) is None
    assert common_equalisation([volumes["a"], volumes["plain"]]) is None


def test_what_reading_takes_does_not_grow_with_a_large_volume() -> None:
    how = Equalisation((128, 128, 128), 0.02)
    sizes = [how.num_bytes((side,) * 3, (300, 300, 300), 2) for side in (1000, 20000, 40000)]
    assert 2 * 10 * 128**3 < sizes[0] < sizes[1] == sizes[2] < 2 * 30 * 300**3


def test_counts_above_the_limit_are_shared() -> None:
    counts = np.array([50, 0, 3, 2, 9])
    kept = clipped(counts, 20)
    assert kept.sum() == counts.sum() and kept.max() <= 20
    np.testing.assert_array_equal(kept, [20, 6, 9, 9, 20])  # 6 each, 9 is filled up, one is left
    assert clipped(np.array([50, 50]), 10).tolist() == [10, 10]  # there is no room for the rest


def test_a_mapping_never_falls_and_no_clipping_is_plain_equalisation() -> None:
    block = tissue((16, 16, 16))
    for clip_limit in (0.005, 0.02, 1.0):
        assert (np.diff(grey_mapping(block, clip_limit).astype(int)) >= 0).all()
    ranks = [(block <= grey).mean() for grey in (90, 120, 150)]
    np.testing.assert_allclose(grey_mapping(block, 1.0)[[90, 120, 150]] / 16383, ranks, atol=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_shape": (16, 15, 16)}, r"kernel_shape=\(16, 15, 16\) has an odd or empty side; give even"),
        ({"kernel_shape": (0, 16, 16)}, "odd or empty side"),
        ({"clip_limit": 0.0}, r"clip_limit=0.0 is no share of voxels; give one above 0"),
        ({"clip_limit": 2}, "clip_limit=2 is no share"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"kernel_shape": (16, 16, 16), "clip_limit": 0.02, **changes}
    with pytest.raises(ValueError, match=message):
        equalised(reader(tissue((4, 4, 4))), (4, 4, 4), **settings)
