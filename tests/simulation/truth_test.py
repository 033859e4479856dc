"""The table of objects: from geometry, complete, and in agreement with the labels."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from asem_jax.simulation import simulate_block
from asem_jax.simulation.objects import Numbering
from asem_jax.simulation.scene import lattices
from asem_jax.simulation.truth import truths, write_truths
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import CELL, mitochondria_only

BOX = Box.of_shape((48, 48, 48))
DENSE = replace(CELL, vesicles_per_um3=300.0, wobble_nm=3.0, process_nm=0.0, er_nm=0.0)


def _numbers(cell, box, organelle, tile_shape):
    numbering = Numbering(lattices(cell), box, cell.voxel_size_nm)
    numbers = np.zeros(box.shape, np.uint32)
    for tile in tiles(box, tile_shape):
        numbers[tile.shift([-a for a in box.start]).slices] = simulate_block(cell, tile).instances(organelle, numbering)
    return numbers


@pytest.mark.parametrize("organelle", ["mito", "vesicles"])
def test_numbers_do_not_depend_on_blocks_and_are_all_in_the_table(organelle):
    whole, cut = (_numbers(DENSE, BOX, organelle, shape) for shape in ((48, 48, 48), (24, 31, 48)))
    np.testing.assert_array_equal(cut, whole)
    listed = {truth.number for truth in truths(DENSE, BOX) if truth.organelle == organelle}
    assert len(np.unique(whole)) > 1 and set(np.unique(whole).tolist()) - {0} <= listed


def test_the_table_lists_what_is_there_and_nothing_else():
    cell = mitochondria_only()
    listed = [truth for truth in truths(cell, BOX)]
    assert {t.number for t in listed} == set(np.unique(_numbers(cell, BOX, "mito", BOX.shape)).tolist()) - {0}
    assert len({(t.organelle, t.number) for t in listed}) == len(listed)


def test_objects_keep_their_rows_at_another_voxel_size():
    coarse = list(truths(DENSE, Box.of_shape((40, 40, 40))))
    # The same cube of nm: half a coarse voxel before the first centre is a whole fine one.
    fine = list(truths(replace(DENSE, voxel_size_nm=(2.0, 5.0, 10.0)), Box((-2, -1, 0), (198, 80, 40))))
    near = [row for row in coarse if not row.touches_border]
    assert near and all(any(row == replace(other, number=row.number) for other in fine) for row in near)


def test_a_mitochondrion_measures_what_the_table_says():
    cell = mitochondria_only(
        voxel_size_nm=(8.0, 8.0, 8.0), mitochondrion_length_nm=(60.0, 100.0), mitochondrion_radius_nm=(70.0, 75.0),
        branched_share=0.0,
    )  # fmt: skip
    box = Box.of_shape((90, 90, 90))
    numbers = _numbers(cell, box, "mito", box.shape)
    whole = [truth for truth in truths(cell, box) if not truth.touches_border]
    assert whole
    for truth in whole:
        places = np.argwhere(numbers == truth.number) * 8.0
        np.testing.assert_allclose(places.mean(0), (truth.z_nm, truth.y_nm, truth.x_nm), atol=8)
        # A tube of this length and radius with round ends.
        r, length = truth.radius_nm, truth.length_nm
        assert len(places) * 512 == pytest.approx(np.pi * r**2 * (length + 4 / 3 * r), rel=0.08)


def test_a_border_is_seen():
    whole = {t.number: t for t in truths(DENSE, BOX)}
    numbers = {name: _numbers(DENSE, BOX, name, BOX.shape) for name in ("mito", "lysosomes", "vesicles")}
    for truth in whole.values():
        here = numbers[truth.organelle] == truth.number
        inner = np.zeros_like(here)
        inner[1:-1, 1:-1, 1:-1] = True
        if (here & ~inner).any():
            assert truth.touches_border
    assert not all(truth.touches_border for truth in whole.values())


def test_both_files_hold_the_same_rows(tmp_path):
    write_truths(DENSE, BOX, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    rows = list(csv.DictReader((tmp_path / "truth.csv").read_text().splitlines()))
    assert len(lines) == len(rows) == len(list(truths(DENSE, BOX))) > 10
    for line, row in zip(lines, rows, strict=True):
        assert {name: value for name, value in row.items() if value} == {k: str(v) for k, v in line.items()}
