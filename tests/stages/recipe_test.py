"""What a training's config describes: channels, their labels and losses, and a training of every kind of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.models.architecture import asem, cosem_4nm
from asem_jax.models.channels import Channel, exclusive
from asem_jax.models.checkpoint import load_model
from asem_jax.prediction.predictor import predict
from asem_jax.settings import SETTINGS
from asem_jax.stages import train
from asem_jax.stages.recipe import (
    make_card,
    make_recipe,
    make_sampling,
    open_regions,
    predicted_shape,
    read_architecture,
    read_channels,
)
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume
from tests.phantoms import VOXEL_SIZE_NM, balls, train_config, write_volume

NAMES = ("er", "mito", "far", "membrane", "beside")


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell with raw, labels of mito, and ids: 3 and 4 for its two halves, 9 far from it."""
    container = tmp_path_factory.mktemp("data") / "cell.zarr"
    raw, labels = balls((40, 40, 40))
    ids = np.where(labels != 0, 3 + (np.arange(40) % 2), np.roll(labels, 20, axis=1) * 9)
    for name, array in {"raw": raw, "labels/mito": labels, "labels/all": ids.astype(np.uint8)}.items():
        write_volume(container / name, array)
    return container


def channel(kind: str, **changes: object) -> dict[str, Any]:
    """Returns the section of a channel."""
    plain = {"labels": "all", "ids": None, "generic_ids": (), "parent": None, "scale_nm": 20.0, "added_nm": 0.0}
    return {"kind": kind, **plain, "offset": None, **changes}


CHANNELS = {
    "far": channel("distance", ids=(3, 4)),
    "er": channel("softmax", ids=(9,)),
    "beside": channel("affinity", labels="mito", offset=(0, 0, 1)),
    "mito": channel("sigmoid", ids=(3, 4)),
    "membrane": channel("distance", ids=(3,), parent="far", added_nm=8.0),
}


def config_of(container: Path, **changes: object) -> Any:
    """Returns a config of channels of every kind."""
    labels = {"mito": f"{container}/labels/mito", "all": f"{container}/labels/all"}
    region = {"raw": f"{container}/raw", "labels": labels, "mask": None, "start": None, "stop": None}
    lists = {"present": {"all": (3, 4, 9)}, "absent": None, "unknown": None, "ignore": None}
    config = train_config(container, organelles=NAMES, class_weights=(1.0,) * 6, **changes)
    with config.unlocked():
        config.channels = {name: CHANNELS[name] for name in config.organelles if name in CHANNELS}
        config.regions = {"all": {**region, "annotation": lists, "weight": None}}
        config.validation_regions = {"part": {**region, "annotation": None, "weight": None, "stop": (16, 32, 40)}}
    return config


def test_organelles_alone_share_a_softmax(container: Path) -> None:
    assert read_channels(train_config(container)) == exclusive(["mito"])


def test_channels_stand_in_the_order_of_the_organelles(container: Path) -> None:
    channels = read_channels(config_of(container))
    assert tuple(found.name for found in channels) == NAMES
    assert channels[2] == Channel("far", "distance", "all", (3, 4), scale_nm=20.0)
    assert all(set(section) == set(SETTINGS["train"]["channels"]["*"]) for section in CHANNELS.values())


def test_the_networks_of_the_papers_can_be_described(container: Path) -> None:
    network = {
        **{"num_maps": 12, "map_growth": 6, "pool_factors": ((2, 2, 2), (3, 3, 3), (3, 3, 3))},
        **{"upsampling": "constant", "decoder_maps": (72, 72, 432), "head_kernel_size": (1, 1, 1)},
    }
    assert read_architecture(train_config(container, network=network).network, 14) == cosem_4nm(14)
    wide = {"num_maps": 32, "pool_factors": ((2, 2, 2),) * 3}
    assert read_architecture(train_config(container, network=wide).network, 2) == asem()


def test_a_card_says_what_is_learned(container: Path) -> None:
    config = config_of(container)
    card = make_card(config, open_regions("regions", config.regions, config))
    assert card.channels == ("background", *NAMES)
    assert card.meanings == read_channels(config)
    assert card.equalised is None


EQUALISED = {"equalised": True, "equalisation": {"kernel_shape": (16, 16, 16), "clip_limit": 0.02}}


def test_a_model_of_equalised_raw_says_so(tmp_path: Path, container: Path) -> None:
    write_volume(tmp_path / "cell.zarr/raw", balls((40, 40, 40))[0], attributes=EQUALISED)
    config = train_config(container)
    with config.unlocked():
        config.regions.all.raw = f"{tmp_path}/cell.zarr/raw"
    card = make_card(config, open_regions("regions", config.regions, config))
    assert (card.equalised, card.equalisation) == (True, Equalisation((16, 16, 16), 0.02))


def test_labels_are_read_as_far_as_targets_and_deformation_need(container: Path) -> None:
    elastic = {
        **{"probability": 1.0, "spacing_nm": (160.0,) * 3, "jitter_nm": (10.0,) * 3, "rotation_degrees": 0.0},
        **{"shift_probability": 0.0, "slip_probability": 0.0, "max_misalign": 0},
    }
    config = config_of(container, elastic=elastic)
    card = make_card(config, open_regions("regions", config.regions, config))
    sampling = make_sampling(config, make_recipe(config, card).augmentation)
    assert sampling.label_padding == (7, 7, 7)  # 63.2 nm of voxels of 10 nm
    assert sampling.label_margin == sampling.margin == (4, 4, 4)
    assert sampling.output_shape == predicted_shape(config) == (14, 14, 14)


def test_losses_are_asems_and_cosems_unless_stated(container: Path) -> None:
    losses = {"cross_entropy": 0.5, "squared": 2.0, "focal": 1.0, "focal_exponent": 3.0, "dice": 0.25}
    for stated in (None, losses):
        config = config_of(container, losses=stated, class_fractions=(0.1,) * 6)
        card = make_card(config, open_regions("regions", config.regions, config))
        found = make_recipe(config, card).objective
        assert (found.cross_entropy, found.squared, found.focal, found.dice) == (
            (1.0, 1.0, 0.0, 0.0) if stated is None else (0.5, 2.0, 1.0, 0.25)
        )
        assert found.class_fractions == (0.1,) * 6
    assert set(losses) == set(SETTINGS["train"]["losses"])


def test_a_region_teaches_what_is_annotated_there(container: Path) -> None:
    config = config_of(container)
    with config.unlocked():
        config.regions.all.annotation.present = {"all": (3, 9)}
        config.regions.all.labels.mito = None
    (region,) = open_regions("regions", config.regions, config)
    annotated = {own.channel.name: own.annotated for own in region.labels}
    assert annotated == {"er": True, "mito": False, "far": False, "membrane": True, "beside": False}


def test_a_network_learns_channels_of_every_kind(container: Path, tmp_path: Path) -> None:
    config = config_of(container, losses={**dict.fromkeys(SETTINGS["train"]["losses"], 1.0), "focal_exponent": 2.0})
    train.run(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    validated = [line["validation"]["part"] for line in lines if "validation" in line]
    assert set(validated[-1]["losses"]) == {"softmax", *NAMES} - {"er"}
    assert set(validated[-1]["f1_of"]) == set(NAMES)
    model = load_model(tmp_path)
    assert model.card.meanings == read_channels(config)
    sure = predict(model, balls((16, 16, 16))[0])
    assert sure.shape == (16, 16, 16, 6) and sure.min() >= 0 and sure.max() <= 1
    train.run(config, tmp_path)  # trained already: the same settings after the way through JSON


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"organelles": ("er", "mito")},
            r"config\.channels has .*config\.organelles is er, mito; give one channel for",
        ),
        ({"organelles": NAMES[::-1]}, "have a softmax channel behind another kind"),
        ({"class_weights": (1.0, 1.0)}, r"class_weights=\(1\.0, 1\.0\) has 2 numbers for 6 outputs"),
        ({"present": {"mitos": None}}, r"regions\.all: annotation\.present names mitos, the labels are all, mito"),
        (
            {"present": {"all": (77,), "mito": (5,)}},
            r"regions\.all teaches none of er, mito, far, membrane, beside: .* correct present, absent and unknown",
        ),
        ({"labels": {"all": None}}, r"regions\.all\.labels has all, config\.channels reads all, mito; give labels"),
    ],
)
def test_what_does_not_fit_is_found_before_work(
    container: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = config_of(container)
    with config.unlocked():
        if "present" in changes:
            config.regions.all.annotation.present = changes.pop("present")
        if "labels" in changes:
            del config.regions.all.labels["mito"]
            changes.pop("labels")
        for key, value in changes.items():
            config[key] = value
    with pytest.raises(ValueError, match=message):
        train.run(config, tmp_path)


def test_a_region_without_a_box_is_where_its_labels_are(
    container: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = np.array(VOXEL_SIZE_NM)
    labels = create_volume(
        tmp_path / "cell.zarr/mito", shape=(30, 20, 40), dtype=np.uint8, voxel_size_nm=VOXEL_SIZE_NM,
        offset_nm=tuple(size * (4, -2, 8)),
    )  # fmt: skip
    config = train_config(container)
    config.regions.all.labels.mito = labels.address
    (region,) = open_regions("regions", config.regions, config)
    assert region.box == Box((4, 0, 8), (34, 18, 40))
    assert "regions.all: " in caplog.text
    assert "lies at (4, -2, 8) to (34, 18, 48) of raw, whose shape is (40, 40, 40); what leaves it" in caplog.text


def test_data_configs_of_the_original_add_regions(
    container: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = {"file": "cell.zarr", "raw": "raw", "labels": {"labels/mito": 1}, "metric_masks": ["labels/mito"]}
    entry |= {"voxel_size": list(VOXEL_SIZE_NM), "offset": [2, 3, 4], "shape": [30, 31, 32]}

    def config_with(**changes: Any) -> Any:
        (tmp_path / "data.json").write_text(json.dumps({changes.pop("name", "cell_1"): entry | changes}))
        section = {
            "regions": str(tmp_path / "data.json"),
            "validation_regions": None,
            "data_dir": str(container.parent),
        }
        return train_config(container, incasem=ConfigDict(section))

    config = config_with()
    with caplog.at_level("INFO"):
        regions = open_regions("regions", config.regions, config)
    assert [region.name for region in regions] == ["regions.all", "regions.cell_1"]
    assert regions[1].box == Box((2, 3, 4), (32, 34, 36))
    assert "metric_masks are not used" in caplog.text
    assert len(open_regions("validation_regions", config.validation_regions, config)) == 1
    for changes, message in [
        ({"name": "all"}, r"incasem\.regions: all is also the name of a region in regions; rename one"),
        ({"labels": {}}, r"cell_1 has 0 label classes, config\.organelles are mito; name the organelles in the order"),
        ({"voxel_size": [4, 4, 4]}, r"cell_1 says voxel_size \(4\.0, 4\.0, 4\.0\), raw has \(10\.0"),
    ]:
        config = config_with(**changes)
        with pytest.raises(ValueError, match=message):
            open_regions("regions", config.regions, config)
