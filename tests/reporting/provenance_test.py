import numpy as np

from asem_jax.reporting import provenance
from asem_jax.volumes.volume import create_volume


def _volume(folder, name, array, **given):
    place = {"voxel_size_nm": (5, 5, 5), "chunk_shape": (4, 4, 4), **given}
    volume = create_volume(f"{folder}/cell.zarr/{name}", shape=array.shape, dtype=array.dtype, **place)
    volume.write(volume.box, array)
    return volume


def test_fingerprint_changes_with_voxels_and_with_the_place(tmp_path):
    array = np.arange(512, dtype=np.uint16).reshape(8, 8, 8)
    other = array.copy()
    other[-1, -1, -1] += 1
    volumes = [
        _volume(tmp_path, "a", array),
        _volume(tmp_path, "b", other),
        _volume(tmp_path, "c", array, voxel_size_nm=(4, 5, 5)),
        _volume(tmp_path, "d", array, offset_nm=(0, 0, 5)),
    ]
    assert len({provenance.fingerprint(volume) for volume in volumes}) == 4
    assert provenance.fingerprint(_volume(tmp_path, "same", array)) == provenance.fingerprint(volumes[0])


def test_a_volume_is_followed_to_what_it_was_made_from(tmp_path):
    array = np.zeros((4, 4, 4), np.uint8)
    model = {"training_regions": ["cell (0, 0, 0) to (9, 9, 9)"]}
    sweep = {"raw": "there/raw", "model": "0af3"}
    first = _volume(tmp_path, "probability", array, attributes={"fingerprint": sweep, "model": model, "version": "0.1"})
    last = _volume(tmp_path, "found", array, attributes={"made_from": first.address, "threshold": 0.5})
    html = "".join(provenance.data_section({"segmentation": last}))
    assert f"from {first.address}; threshold 0.500" in html
    assert "predicted from there/raw by the model with the digest 0af3; a model trained on cell (0, 0, 0)" in html
    assert html.count("<details>") == 2 and provenance.fingerprint(last) in html


def test_a_source_that_is_gone_ends_the_chain(tmp_path):
    volume = _volume(tmp_path, "found", np.zeros((4, 4, 4), np.uint8), attributes={"made_from": "gone.zarr/raw"})
    assert "from gone.zarr/raw" in "".join(provenance.data_section({"segmentation": volume}))


def test_nothing_is_said_of_nothing():
    assert provenance.data_section({}) == provenance.run_section(None) == []
    assert '<td class="address">train, report</td>' in "".join(provenance.run_section({"stages": ["train", "report"]}))
