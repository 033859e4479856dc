"""Stage preprocess: voxel sizes, grey values, their order, repeated, and what is refused before it starts."""

import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import preprocess
from asem_jax.volumes import blockwise
from asem_jax.volumes.clahe import equalised
from asem_jax.volumes.matching import grey_counts, matching_table
from asem_jax.volumes.volume import Volume, create_volume, open_volume


def write(address, array):
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=(5, 5, 5), chunk_shape=(8, 8, 8)
    )
    volume.write(volume.box, array)


EQUALISE = {"kernel_shape": (8, 8, 8), "clip_limit": 0.02}


def config(folder, raw=None, masks=None, **changes):
    both = {"chunk_shape": (4, 4, 4), "shard_shape": None, "zarr_format": 2, "voxel_size_nm": (10, 10, 10)}
    both |= {"invert": False, "match": None, "equalise": None}
    volumes = {
        "raw": {
            "source": f"{folder}/cell.zarr/raw",
            "target": f"{folder}/cell.zarr/raw_10nm",
            "labels": False,
        },
        "mito": {
            "source": f"{folder}/cell.zarr/mito",
            "target": f"{folder}/cell.zarr/mito_10nm",
            "labels": True,
        },
    }
    volumes = {name: both | volume for name, volume in volumes.items()}
    volumes["raw"] |= raw or {}
    volumes["mito"] |= changes
    return ConfigDict({"masks": masks or {}, "volumes": volumes, "num_threads": 2, "retries": 0, "cluster": None})


def masked(folder, **changes):
    mask = {
        "source": f"{folder}/cell.zarr/ball",
        "target": f"{folder}/cell.zarr/mask",
        "voxel_size_nm": (10, 10, 10),
        **{"texture_nm": 20.0, "threshold": None, "min_um3": None, "max_hole_um3": None, "margin_nm": 0.0},
        "chunk_shape": (16, 16, 16),
        "zarr_format": 2,
    }
    return {"cell": mask | changes}


def write_ball(folder):
    """Writes a ball of noise in smooth surroundings; returns where it is, in voxels of 10 nm."""
    rng = np.random.default_rng(2)
    places = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"))
    ball = ((places - 20) ** 2).sum(0) < 12**2
    write(
        folder / "cell.zarr/ball",
        (150 + rng.normal(0, 2, ball.shape) + ball * rng.normal(0, 40, ball.shape)).clip(1, 254).astype(np.uint8),
    )
    return ball.reshape(20, 2, 20, 2, 20, 2).all((1, 3, 5))


def matched(folder):
    return {"reference": f"{folder}/cell.zarr/other", "mask": None, "reference_mask": None}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "cell.zarr/raw", rng.integers(0, 255, (16, 16, 16)).astype(np.uint8))
    write(tmp_path / "cell.zarr/mito", (rng.random((16, 16, 16)) > 0.7).astype(np.uint16) * 9)
    return tmp_path


def test_the_settings_are_those_of_the_stage(folder):
    assert set(config(folder)) == set(SETTINGS["preprocess"])
    settings = SETTINGS["preprocess"]["volumes"]["*"]
    assert set(config(folder).volumes.raw) == set(settings)
    assert set(EQUALISE) == set(settings["equalise"])
    assert set(matched(folder)) == set(settings["match"])
    assert set(masked(folder)["cell"]) == set(SETTINGS["preprocess"]["masks"]["*"])


def test_raw_is_averaged_labels_keep_their_values_and_all_get_levels(folder):
    preprocess.run(config(folder), folder)
    raw, mito = (open_volume(folder / f"cell.zarr/{name}_10nm") for name in ("raw", "mito"))
    fine = open_volume(folder / "cell.zarr/raw")
    cells = fine.read(fine.box).reshape(8, 2, 8, 2, 8, 2).mean((1, 3, 5))
    np.testing.assert_array_equal(raw.read(raw.box), np.rint(cells))
    assert set(np.unique(mito.read(mito.box))) == {0, 9}
    assert raw.voxel_size_nm == mito.voxel_size_nm == (10, 10, 10)
    assert raw.offset_nm == (2.5, 2.5, 2.5)
    assert open_volume(mito.address, level=1).shape == (4, 4, 4)


def test_a_finished_run_does_nothing_and_a_removed_target_is_made_again(folder, caplog):
    preprocess.run(config(folder), folder)
    caplog.set_level("INFO", logger="asem_jax")
    preprocess.run(config(folder), folder)
    assert caplog.text.count("is made already; nothing to do") == 2
    (folder / "cell.zarr/raw_10nm").rename(folder / "elsewhere")
    preprocess.run(config(folder), folder)
    assert open_volume(folder / "cell.zarr/raw_10nm", level=1).shape == (4, 4, 4)


def test_workers_of_a_cluster_write_what_threads_write(folder, cluster, monkeypatch):
    write_ball(folder)
    words = config(folder, {"invert": True, "equalise": EQUALISE}, masks=masked(folder, margin_nm=10.0))
    monkeypatch.setattr(preprocess, "write_pyramid", lambda volume, **how: None)
    written = []
    for section in (None, cluster):
        if section:
            monkeypatch.delattr(blockwise, "ThreadPoolExecutor")
        with words.ignore_type():
            words.cluster = section
        preprocess.run(words, folder)
        written.append({path: path.read_bytes() for path in (folder / "cell.zarr").rglob("*") if path.is_file()})
        for target in ("mask", "raw_10nm", "mito_10nm"):
            shutil.rmtree(folder / f"cell.zarr/{target}")
    assert len(written[0]) > 20
    assert written[0] == written[1]


def test_grey_values_are_inverted_matched_and_equalised_at_the_new_voxel_size(folder):
    rng = np.random.default_rng(1)
    write(folder / "cell.zarr/large", rng.integers(1, 255, (24, 24, 24)).astype(np.uint8))
    write(folder / "cell.zarr/other", rng.integers(90, 160, (16, 16, 16)).astype(np.uint8))
    source = {"source": f"{folder}/cell.zarr/large"}
    preprocess.run(config(folder, source), folder / "plain")
    steps = {"target": f"{folder}/cell.zarr/all", "invert": True, "match": matched(folder), "equalise": EQUALISE}
    preprocess.run(config(folder, source | steps), folder / "all")
    plain, other, found = (open_volume(folder / f"cell.zarr/{name}") for name in ("raw_10nm", "other", "all"))
    table = matching_table(grey_counts(plain, None)[::-1], grey_counts(other, None))
    changed = table[255 - plain.read(plain.box)]
    expected = equalised(lambda box: changed[box.slices], plain.shape, **EQUALISE)(plain.box)
    np.testing.assert_array_equal(found.read(found.box), expected)
    noted = found.attributes
    assert noted["inverted"] is noted["equalised"] is True
    assert noted["equalisation"] == {"kernel_shape": [8, 8, 8], "clip_limit": 0.02}
    assert noted["matched"]["grey_values"] == table[::-1].tolist()
    assert "equalised" not in plain.attributes


def test_an_equalised_volume_stays_one_and_is_not_equalised_twice(folder):
    first = {"voxel_size_nm": None, "equalise": EQUALISE, "target": f"{folder}/cell.zarr/equalised"}
    preprocess.run(config(folder, first), folder / "first")
    then = {"source": first["target"], "target": f"{folder}/cell.zarr/equalised_10nm"}
    preprocess.run(config(folder, then), folder / "then")
    made = open_volume(then["target"])
    assert (made.attributes["equalised"], made.voxel_size_nm) == (True, (10, 10, 10))
    with pytest.raises(ValueError, match=r"volumes.raw: .*equalised is equalised already, .* was made from \(.*/raw\)"):
        preprocess.run(config(folder, {**then, "equalise": EQUALISE}), folder / "twice")


def test_killed_between_blocks_it_ends_the_same(folder, monkeypatch):
    changes = {"voxel_size_nm": None, "equalise": EQUALISE, "target": f"{folder}/cell.zarr/killed"}
    whole = {**changes, "target": f"{folder}/cell.zarr/whole"}
    preprocess.run(config(folder, whole), folder / "whole")
    write_block, written = Volume.write, []

    def fail_later(volume, box, array):
        written.append(box)
        if len(written) == 20:
            raise KeyboardInterrupt
        write_block(volume, box, array)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Volume, "write", fail_later)
        preprocess.run(config(folder, changes), folder / "killed")
    assert 0 < (folder / "killed/ledgers/preprocess-raw.jsonl").read_text().count("finished") < 64
    preprocess.run(config(folder, changes), folder / "killed")
    killed, expected = open_volume(changes["target"]), open_volume(whole["target"])
    np.testing.assert_array_equal(killed.read(killed.box), expected.read(expected.box))


def test_a_mask_of_the_cell_is_made_first_and_says_where_grey_values_count(folder, caplog):
    caplog.set_level("INFO", logger="asem_jax")
    ball = write_ball(folder)
    mask_address = f"{folder}/cell.zarr/mask"
    match = {"reference": f"{folder}/cell.zarr/ball", "mask": mask_address, "reference_mask": mask_address}
    changed = {"source": f"{folder}/cell.zarr/ball", "match": match}
    settings = config(folder, changed, masked(folder))
    preprocess.run(settings, folder)
    mask = open_volume(mask_address)
    found = mask.read(mask.box)
    assert (found.dtype, mask.voxel_size_nm, mask.offset_nm) == (np.bool_, (10, 10, 10), (2.5, 2.5, 2.5))
    assert found[ball].all() and found.mean() < 0.45
    assert open_volume(mask_address, level=1).shape == (10, 10, 10)
    assert not list(folder.glob("*.zarr/kept")) and "cell is what varies by" in caplog.text
    noted = open_volume(folder / "cell.zarr/raw_10nm").attributes["matched"]
    assert noted["mask"] == noted["reference_mask"] == mask_address
    caplog.clear()
    preprocess.run(settings, folder)
    assert caplog.text.count("is made already; nothing to do") == 3
    # As the mask of a training region, which has the voxels of raw.
    fine = {"source": mask_address, "target": f"{folder}/cell.zarr/mask_5nm", "labels": True}
    preprocess.run(config(folder, fine | {"voxel_size_nm": (5, 5, 5)}), folder / "fine")
    raw, mask = open_volume(folder / "cell.zarr/ball"), open_volume(fine["target"])
    assert (mask.dtype, mask.shape, mask.voxel_size_nm, mask.offset_nm) == (bool, raw.shape, (5, 5, 5), (0, 0, 0))
    np.testing.assert_array_equal(mask.read(mask.box)[::2, ::2, 1::2], found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"voxel_size_nm": (2.5, 5, 5)},
            r"masks.cell.voxel_size_nm=\(2.5, 5, 5\) is smaller than the voxels of .*ball",
        ),
        ({"texture_nm": 0.0}, r"preprocess.masks.cell.texture_nm=0.0 must be above 0"),
        ({"source": "{}/cell.zarr/mito"}, r"masks.cell: .*mito is of dtype uint16, not uint8"),
        ({"target": "{}/cell.zarr/raw"}, r"masks.cell.target=.* is the source of volumes.raw too"),
    ],
)
def test_masks_that_cannot_be_made_are_refused(folder, changes, message):
    write_ball(folder)
    changes = {k: v.format(folder) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(ValueError, match=message):
        preprocess.run(config(folder, masks=masked(folder, **changes)), folder)
    assert not (folder / "cell.zarr/raw_10nm").exists()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"labels": True, "invert": True}, r"volumes.raw: .*/raw is labels, and invert would change grey values"),
        ({"source": "{}/cell.zarr/mito", "equalise": EQUALISE}, "is of dtype uint16, and equalise would .* give raw"),
        ({"equalise": EQUALISE | {"clip_limit": 3}}, "volumes.raw.equalise: clip_limit=3 is no share"),
    ],
)
def test_grey_values_that_cannot_be_changed_so_are_refused(folder, raw, message):
    raw = {k: v.format(folder) if isinstance(v, str) else v for k, v in raw.items()}
    with pytest.raises(ValueError, match=message):
        preprocess.run(config(folder, raw), folder)
    assert not (folder / "cell.zarr/raw_10nm").exists()


def test_a_reference_that_is_not_there_is_refused(folder):
    with pytest.raises(FileNotFoundError, match="other is not there; "):
        preprocess.run(config(folder, {"match": matched(folder)}), folder)
    assert not (folder / "cell.zarr/raw_10nm").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voxel_size_nm": (7, 7, 7)}, "whole ratios; nearby"),
        ({"target": "{}/cell.zarr/raw_10nm/"}, "volumes.raw.target=.* is the target of volumes.mito too"),
        ({"target": "{}/cell.zarr/raw"}, "volumes.mito.target=.* is the source of volumes.raw too; give another"),
    ],
)
def test_every_entry_is_checked_before_the_first_is_written(folder, changes, message):
    changes = {k: v.format(folder) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(ValueError, match=message):
        preprocess.run(config(folder, **changes), folder)
    assert not (folder / "cell.zarr/raw_10nm").exists()
