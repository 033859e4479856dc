"""Whether a volume looks like what a model was trained on, judged by its grey values.

The judgement is coarse and errs towards silence: a volume that is unlike the training raw in a way that the checks
below can see will be predicted badly; one that passes may still be unlike it (see `volumes.grey_values`).
"""

import logging
from collections.abc import Mapping

from asem_jax.models.model import Model, ModelCard
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.grey_values import (
    EQUALISED,
    Percentiles,
    inverted,
    percentiles,
    sample_blocks,
    sample_percentiles,
)
from asem_jax.volumes.volume import Volume

logger = logging.getLogger(__name__)

LEAST_INVERTED = 25.0
"""Grey values between percentiles; parts of one volume (EPFL hippocampus, FIB-25) rarely differ by more."""

MOST_SHIFT = 38.0
"""Grey values between the medians; ASEM's augmentation shifts the brightness by up to 15 % of 255."""

MOST_RATIO = 2.0
"""Between the widths of the middle halves; ASEM's augmentation changes the contrast by up to 15 %."""

LEAST_WIDTH_EQUALISED = 64.0
"""Of the middle half: a perfectly equalised volume has 127, a volume as recorded hardly half of this."""


def missing_equalisation(
    models: Model | Ensemble | Mapping[str, Model | Ensemble], raw: Volume, box: Box
) -> Equalisation | None:
    """Returns how `raw` has to be equalised to look like what the models were trained on; None = it is left as it is.

    Whether it is equalised already its attributes say, else its grey values, see `LEAST_WIDTH_EQUALISED`.

    Args:
      models: that share the reading of raw, by name if there are several.
      raw: uint8 grey values.
      box: what shall be predicted, voxels of `raw`.

    Raises:
      ValueError: the models were trained on raw that was equalised in different ways, or it is not known how.
    """
    several = models if isinstance(models, Mapping) else {"": models}
    named = {name or "the model": model for name, model in several.items()}
    wanted = {name: model.card.equalisation if model.card.equalised else None for name, model in named.items()}
    if not any(model.card.equalised for model in named.values()) or _is_equalised(raw, box):
        return None
    unknown = [name for name, model in named.items() if model.card.equalised and model.card.equalisation is None]
    if unknown:
        raise ValueError(
            f"{raw.address} is not equalised (CLAHE); {', '.join(unknown)} learned on raw that was, and the card does "
            "not say with which kernel and limit: equalise the volume first (stage preprocess), or give equalise=False."
        )
    first, *others = wanted.values()
    if any(other != first for other in others):
        listed = ", ".join(f"{name}: {how or 'as it is'}" for name, how in wanted.items())
        raise ValueError(
            f"{raw.address} would have to be equalised in different ways at one time ({listed}); predict these "
            "models one by one, or give equalise=False."
        )
    return first


def _is_equalised(raw: Volume, box: Box) -> bool:
    """Says whether a volume is equalised, or may be."""
    said = raw.attributes.get(EQUALISED)
    found = None if said is not None else sample_percentiles(raw, box)
    return bool(said) if said is not None else found is None or _width(found) >= LEAST_WIDTH_EQUALISED


def warn_of_appearance(
    model: Model | Ensemble, raw: Volume, box: Box, equalisation: Equalisation | None = None
) -> None:
    """Logs a warning if `box` of `raw` looks unlike what the model was trained on; reads a few small blocks.

    Args:
      model: the network and its card.
      raw: uint8 grey values.
      box: what shall be predicted, voxels of `raw`.
      equalisation: of raw, while it is read.
    """
    if equalisation is None:
        found, equalised = sample_percentiles(raw, box), raw.attributes.get(EQUALISED)
    else:  # of few blocks: each needs the kernels around it
        read = equalisation.reader(raw)
        found, equalised = percentiles(read(block) for block in sample_blocks(box, per_axis=2)), True
    difference = None if found is None else describe_difference(model.card, found, equalised)
    if difference:
        logger.warning("%s: %s", raw.address, difference)


def describe_difference(card: ModelCard, found: Percentiles, equalised: bool | None = None) -> str | None:
    """Returns a sentence on how a volume differs from the training raw; None where nothing speaks against it.

    Args:
      card: of the model; what it does not know is not checked.
      found: of the volume.
      equalised: whether the volume was equalised; None = not known, judged by `found`.
    """
    if None not in (card.equalised, equalised) and card.equalised != equalised:
        trained_on, given, way = ("equalised raw", "was not", "equalise it first (stage preprocess)")
        if equalised:
            trained_on, given, way = ("raw that was not equalised", "was", "give what it was made from")
        return f"the model was trained on {trained_on} (CLAHE), and by its attributes the volume {given}; {way}."
    trained = card.grey_percentiles
    if trained is not None:
        if _is_inverted(trained, found):
            return (
                f"the volume looks inverted: its grey values are {_text(found)}, inverted {_text(inverted(found))}, "
                f"and the model was trained on {_text(trained)} ({card.polarity}); look at a section, and give 255 - v "
                "(stage preprocess, invert) if its membranes are the other way."
            )
        shift, ratio = found[2] - trained[2], _width(found) / max(_width(trained), 1.0)
        if abs(shift) > MOST_SHIFT or not 1 / MOST_RATIO <= ratio <= MOST_RATIO:
            return (
                f"the volume is {abs(shift):.0f} grey values {'brighter' if shift > 0 else 'darker'} and has "
                f"{ratio:.2g} times the contrast of what the model was trained on ({_text(found)} against "
                f"{_text(trained)}); give raw that was scaled and equalised alike."
            )
    if card.equalised and equalised is None and _width(found) < LEAST_WIDTH_EQUALISED:
        return (
            f"the model was trained on equalised raw (CLAHE), and the volume does not look it: half of its voxels lie "
            f"within {_width(found):.0f} grey values ({_text(found)}), an equalised volume's within up to 127; "
            "equalise it first (stage preprocess)."
        )
    return None


def _is_inverted(trained: Percentiles, found: Percentiles) -> bool:
    """Says whether a volume would be much more like the training raw if it were inverted."""
    as_it_is, turned = _distance(trained, found), _distance(trained, inverted(found))
    return as_it_is > LEAST_INVERTED and turned < as_it_is / 2


def _distance(a: Percentiles, b: Percentiles) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def _width(values: Percentiles) -> float:
    """Returns the grey values that the middle half of the voxels spans."""
    return values[3] - values[1]


def _text(values: Percentiles) -> str:
    return "/".join(f"{value:.0f}" for value in values)
