"""What the config of a training describes, as values: regions, channels, network, model card, recipe and sampling."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from asem_jax import __version__
from asem_jax.models.architecture import Architecture, symmetric, with_decoder_maps
from asem_jax.models.channels import Channel, check_channels, exclusive, output_names
from asem_jax.models.model import ModelCard
from asem_jax.models.shapes import output_shape
from asem_jax.training.augment import Augmentation, allowed_transpositions
from asem_jax.training.crops import Sampling
from asem_jax.training.defects import Defects
from asem_jax.training.elastic import Elastic, margin
from asem_jax.training.losses import Objective
from asem_jax.training.optimizer import make_optimizer
from asem_jax.training.regions import TrainingRegion, channel_labels
from asem_jax.training.step import Recipe
from asem_jax.training.targets import label_padding
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.clahe import common_equalisation
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3
from asem_jax.volumes.grey_values import all_equalised, percentiles, sample_blocks
from asem_jax.volumes.incasem import read_data_config
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)


def open_regions(key: str, sections: ConfigDict, config: ConfigDict) -> tuple[TrainingRegion, ...]:
    """Opens the volumes of a config's regions and checks them against its voxel size and channels.

    Args:
      key: what the config calls the group, for messages.
      sections: one per region.
      config: the section of the stage.

    Raises:
      ValueError: a voxel size or the labels differ from what the config says.
    """
    regions, channels = [], read_channels(config)
    sections = _with_incasem(key, sections, channels, config)
    wanted = sorted({channel.labels for channel in channels})
    reader = "organelles is" if config.channels is None else "channels reads"
    for name, section in sections.items():
        label = f"{key}.{name}"
        if sorted(section.labels) != wanted:
            raise ValueError(
                f"{label}.labels has {', '.join(section.labels) or 'nothing'}, config.{reader} {', '.join(wanted)}; "
                "give labels of each, None where there are none."
            )
        raw = open_volume(section.raw)
        size = float3(config.voxel_size_nm, "voxel_size_nm")
        if max(abs(a / b - 1) for a, b in zip(raw.voxel_size_nm, size, strict=True)) > 0.01:
            raise ValueError(
                f"{label}: raw has voxel size {raw.voxel_size_nm} nm, config.voxel_size_nm is {size}; "
                "resample it (stage preprocess) or train one model per voxel size."
            )
        volumes = {name: None if address is None else open_volume(address) for name, address in section.labels.items()}
        try:
            labels = channel_labels(channels, volumes, **_read_annotation(section.annotation))
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from error
        if not any(channel.annotated for channel in labels):
            raise ValueError(
                f"{label} teaches none of {', '.join(channel.name for channel in channels)}: its annotation "
                "leaves all of them unknown; correct present, absent and unknown, or leave the region out."
            )
        mask = None if section.mask is None else open_volume(section.mask)
        covered = _covered(label, raw, [volume for volume in volumes.values() if volume is not None])
        start = covered.start if section.start is None else int3(section.start, f"{label}.start")
        stop = covered.stop if section.stop is None else int3(section.stop, f"{label}.stop")
        regions.append(TrainingRegion(label, raw, labels, mask, Box(start, stop), section.weight))
    return tuple(regions)


def _covered(label: str, raw: Volume, labels: Sequence[Volume]) -> Box:
    """Returns what raw and all the labels cover, in voxels of raw; warns of labels that leave it."""
    covered = raw.box
    for volume in labels:
        box = volume.box.shift([-shift for shift in grid_shift(volume, raw)])
        if not raw.box.contains(box):
            logger.warning(
                "%s: %s lies at %s to %s of raw, whose shape is %s; what leaves it is clipped",
                *(label, volume.address, box.start, box.stop, raw.shape),
            )
        covered = covered.intersect(box)
    return covered


def _with_incasem(
    key: str, sections: ConfigDict, channels: Sequence[Channel], config: ConfigDict
) -> Mapping[str, ConfigDict]:
    """Returns the sections of a config's regions, and after them those that a data config of the original names."""
    path = None if config.incasem is None else config.incasem[key]
    if path is None:
        return dict(sections)
    found = {}
    for name, region in read_data_config(path, config.incasem.data_dir).items():
        raw, label = open_volume(region.raw), f"incasem.{key}: {name}"
        if name in sections:
            raise ValueError(f"{label} is also the name of a region in {key}; rename one.")
        if len(region.labels) != len(channels):
            raise ValueError(
                f"{label} has {len(region.labels)} label classes, config.organelles are "
                f"{', '.join(config.organelles)}; name the organelles in the order of the classes."
            )
        if not np.allclose(region.voxel_size_nm, raw.voxel_size_nm):
            raise ValueError(
                f"{label} says voxel_size {region.voxel_size_nm}, raw has {raw.voxel_size_nm} nm; correct one of them."
            )
        if region.metric_masks:
            logger.info("%s: metric_masks are not used; exclude_inwards and exclude_outwards say what is scored", label)
        box = region.box_in(raw)
        labels = {channel.labels: address for channel, address in zip(channels, region.labels, strict=True)}
        found[name] = ConfigDict(
            {"raw": region.raw, "labels": labels, "mask": region.mask, "start": box.start, "stop": box.stop}
            | {"annotation": None, "weight": None}
        )
    return {**sections, **found}


def _read_annotation(annotation: ConfigDict | None) -> dict[str, dict[str, Any]]:
    """Returns the lists of a region, each by the name of the labels; () in a config is nothing, None is all."""
    words = ("present", "absent", "unknown", "ignore")
    return {word: dict((annotation or {}).get(word) or {}) for word in words}


def read_channels(config: ConfigDict) -> tuple[Channel, ...]:
    """Returns what a config teaches, in the order of its `organelles`; without `channels` they exclude each other.

    Raises:
      ValueError: the channels are not the organelles, or do not fit each other.
    """
    if config.channels is None:
        return exclusive(config.organelles)
    if sorted(config.channels) != sorted(config.organelles):
        raise ValueError(
            f"config.channels has {', '.join(config.channels)}, config.organelles is {', '.join(config.organelles)}; "
            "give one channel for each organelle, or None where all of them exclude each other."
        )
    channels = tuple(Channel(name, **config.channels[name]) for name in config.organelles)
    check_channels(channels)
    return channels


def make_card(config: ConfigDict, regions: Sequence[TrainingRegion]) -> ModelCard:
    """Returns the card of the model to be trained, with percentiles of a sample of the regions' raw."""
    channels = read_channels(config)
    return ModelCard(
        organelles=tuple(channel.name for channel in channels),
        meanings=channels,
        voxel_size_nm=float3(config.voxel_size_nm, "voxel_size_nm"),
        architecture=read_architecture(config.network, len(output_names(channels))),
        compute_dtype=config.compute_dtype,
        polarity=config.polarity,
        training_regions=tuple(f"{region.raw.address} {region.box.start} to {region.box.stop}" for region in regions),
        version=__version__,
        equalised=all_equalised(region.raw for region in regions),
        equalisation=common_equalisation(region.raw for region in regions),
        grey_percentiles=percentiles(
            region.raw.read(block) for region in regions for block in sample_blocks(region.box)
        ),
    )


def predicted_shape(config: ConfigDict) -> Int3:
    """Returns the voxels that the network predicts of a crop, z y x.

    Raises:
      ValueError: `input_shape` does not fit the network.
    """
    return output_shape(config.input_shape, read_architecture(config.network, len(output_names(read_channels(config)))))


def read_architecture(network: ConfigDict, num_channels: int) -> Architecture:
    """Returns the architecture that the section `network` describes.

    Args:
      network: see `settings.SETTINGS["train"]["network"]`.
      num_channels: outputs.

    Raises:
      ValueError: its values do not fit each other, or a word is not known.
    """
    try:
        sizes = tuple(network.kernel_sizes)
        of_all_levels = all(isinstance(size, int) for size in sizes)
        plain = symmetric(
            num_channels=num_channels,
            num_maps=network.num_maps,
            map_growth=network.map_growth,
            pool_factors=tuple(network.pool_factors),
            kernel_sizes=(sizes,) * (len(network.pool_factors) + 1) if of_all_levels else sizes,
            padding=network.padding,
            upsampling=network.upsampling,
            head_kernel_size=network.head_kernel_size,
        )
        return plain if network.decoder_maps is None else with_decoder_maps(plain, tuple(network.decoder_maps))
    except (TypeError, ValueError) as error:
        raise ValueError(f"config.network={network.to_dict()} describes no network: {error}") from error


def make_recipe(config: ConfigDict, card: ModelCard) -> Recipe:
    """Returns all that a training step needs besides arrays."""
    return Recipe(
        network=card.network(config.kernel_gain, rematerialize=config.network.rematerialize),
        optimizer=make_optimizer(
            learning_rate=config.learning_rate,
            final_learning_rate=config.final_learning_rate,
            num_steps=config.num_train_steps,
            weight_decay=config.weight_decay,
            max_gradient_norm=config.max_gradient_norm,
            warmup_steps=config.warmup_steps,
            betas=tuple(config.adam_betas),
            frozen=tuple(config.frozen),
        ),
        augmentation=_make_augmentation(config, card.voxel_size_nm),
        objective=_make_objective(config, card.meanings),
        voxel_size_nm=card.output_voxel_size_nm,
        seed=config.seed,
        crops_at_once=config.crops_at_once,
        ema_decay=config.ema_decay,
    )


def _make_objective(config: ConfigDict, channels: tuple[Channel, ...]) -> Objective:
    usual = {"cross_entropy": 1.0, "squared": 1.0, "focal": 0.0, "focal_exponent": 2.0, "dice": 0.0}
    return Objective(
        channels=channels,
        class_weights=tuple(config.class_weights),
        class_fractions=None if config.class_fractions is None else tuple(config.class_fractions),
        min_fraction=config.min_class_fraction,
        max_fraction=config.max_class_fraction,
        **(usual if config.losses is None else config.losses.to_dict()),
    )


def _make_augmentation(config: ConfigDict, voxel_size_nm: Float3) -> Augmentation:
    input_shape = int3(config.input_shape, "input_shape")
    if config.overfit_one_crop:
        return Augmentation((), ((0, 1, 2),), 0.0, 0.0)
    orders = allowed_transpositions(input_shape, voxel_size_nm)
    elastic = None if config.elastic is None else Elastic.from_nm(**config.elastic, voxel_size_nm=voxel_size_nm)
    return Augmentation(
        mirror_axes=tuple(config.mirror_axes),
        transpositions=orders,
        intensity_scale=config.intensity_scale,
        intensity_shift=config.intensity_shift,
        elastic=elastic,
        margin=margin(elastic, input_shape, orders),
        label_margin=margin(elastic, _labelled_shape(config, voxel_size_nm), orders),
        gamma=None if config.gamma is None else tuple(config.gamma),
        noise_std=config.noise_std,
        defects=None if config.defects is None else Defects(**config.defects),
    )


def _labelled_shape(config: ConfigDict, voxel_size_nm: Float3) -> Int3:
    """Returns the voxels of labels that the targets of a crop depend on, z y x."""
    return Box.of_shape(predicted_shape(config)).grow(label_padding(read_channels(config), voxel_size_nm)).shape


def make_sampling(config: ConfigDict, augmentation: Augmentation) -> Sampling:
    """Returns how crops are drawn, with the margins that their deformation and their targets need."""
    return Sampling(
        seed=config.seed,
        input_shape=int3(config.input_shape, "input_shape"),
        output_shape=predicted_shape(config),
        min_foreground=config.min_foreground,
        reject_probability=config.reject_probability,
        min_known=config.min_known,
        favoured=config.favoured,
        favoured_probability=config.favoured_probability,
        only=0 if config.overfit_one_crop else None,
        margin=augmentation.margin,
        label_margin=augmentation.label_margin,
        label_padding=label_padding(read_channels(config), float3(config.voxel_size_nm, "voxel_size_nm")),
    )
