"""What is said of volumes unlike the training raw, and that nothing is said of those like it."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asem_jax.models.architecture import asem
from asem_jax.models.model import Model, ModelCard
from asem_jax.prediction.appearance import describe_difference, missing_equalisation, warn_of_appearance
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.grey_values import Percentiles, inverted
from asem_jax.volumes.volume import Volume
from tests.phantoms import write_volume

TRAINED: Percentiles = (60.0, 130.0, 150.0, 165.0, 200.0)  # most is bright, membranes make a dark tail
NEUROPIL: Percentiles = (79.0, 107.0, 127.0, 152.0, 187.0)  # the same on both sides
CARD = ModelCard(("mito",), (10.0, 10.0, 10.0), asem(), "float32", "membranes dark")


def said(found: Percentiles, trained: Percentiles | None = TRAINED, equalised: bool | None = None) -> str:
    """Returns what is said, "" for nothing."""
    return describe_difference(replace(CARD, grey_percentiles=trained, equalised=equalised), found) or ""


def moved(by: float, wider: float = 1.0) -> Percentiles:
    """Returns the training percentiles, brighter and with more contrast."""
    a, b, c, d, e = (150 + wider * (value - 150) + by for value in TRAINED)
    return a, b, c, d, e


def test_the_training_raw_itself_and_what_augmentation_makes_of_it_are_fine() -> None:
    for found in (TRAINED, moved(30), moved(-30), moved(10, 1.5), moved(0, 0.6)):
        assert said(found) == ""


def test_an_inverted_volume_is_named_with_its_numbers() -> None:
    text = said(inverted(TRAINED))
    assert text.startswith(
        "the volume looks inverted: its grey values are 55/90/105/125/195, inverted 60/130/150/165/200"
    )
    assert "trained on 60/130/150/165/200 (membranes dark); look at a section, and give 255 - v" in text


def test_where_both_polarities_look_alike_nothing_is_said() -> None:
    assert said(inverted(NEUROPIL), NEUROPIL) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (moved(40), r"40 grey values brighter and has 1 times the contrast"),
        (moved(-40), r"40 grey values darker"),
        (moved(0, 0.4), r"0 grey values darker and has 0\.4 times the contrast .*scaled and equalised alike"),
        (moved(0, 2.1), r"2\.1 times the contrast .*\(-39/108/150/182/255 against 60/130/150/165/200\)"),
    ],
)
def test_other_brightness_and_contrast_are_said(found: Percentiles, words: str) -> None:
    assert re.search(words, said(found))


def test_a_model_of_equalised_raw_wants_it_equalised() -> None:
    flat: Percentiles = (21.0, 82.0, 139.0, 189.0, 233.0)
    assert said(flat, None, True) == ""
    assert "half of its voxels lie within 45 grey values (79/107/127/152/187)" in said(NEUROPIL, None, True)
    assert said(NEUROPIL, None, None) == said(NEUROPIL, None, False) == ""


@pytest.mark.parametrize(
    ("trained", "given", "words"),
    [
        (True, False, r"trained on equalised raw \(CLAHE\), .* the volume was not; equalise it first \(stage prepro"),
        (False, True, r"trained on raw that was not equalised \(CLAHE\), .* the volume was; give what it was made"),
        (True, True, "^$"),
        (None, True, "^$"),
    ],
)
def test_what_attributes_say_of_equalisation_counts_first(trained: bool | None, given: bool, words: str) -> None:
    card = replace(CARD, equalised=trained)
    assert re.search(words, describe_difference(card, NEUROPIL, given) or "")


def test_the_volume_is_looked_at_before_it_is_predicted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    array = np.clip(rng.normal(110, 12, (40, 40, 40)), 1, 254).astype(np.uint8)
    array[20:] = 0  # margin
    raw = write_volume(tmp_path / "cell.zarr/raw", array)
    plain, equalised = (Model({}, replace(CARD, equalised=value)) for value in (None, True))
    with caplog.at_level(logging.WARNING, logger="asem_jax"):
        warn_of_appearance(plain, raw, raw.box)
        warn_of_appearance(equalised, raw, Box((20, 0, 0), (40, 40, 40)))
        assert not caplog.records
        warn_of_appearance(equalised, raw, raw.box)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{raw.address}: the model was trained on equalised raw (CLAHE)")
    known = write_volume(tmp_path / "cell.zarr/equalised", array, attributes={"equalised": True})
    warn_of_appearance(equalised, known, known.box)
    assert len(caplog.records) == 1


HOW = Equalisation((16, 16, 16), 0.02)
EQUALISED = Model({}, replace(CARD, equalised=True, equalisation=HOW))
PLAIN = Model({}, replace(CARD, equalised=False))


def grey(folder: Path, width: float, **attributes: bool) -> Volume:
    """Returns a volume with a standard deviation of `width` grey values."""
    values = np.clip(np.random.default_rng(0).normal(128, width, (24, 24, 24)), 1, 254).astype(np.uint8)
    return write_volume(folder / f"{width}{len(attributes)}.zarr/raw", values, attributes=attributes)


def test_a_volume_is_equalised_if_the_model_wants_it_and_nobody_did(tmp_path: Path) -> None:
    narrow, wide = grey(tmp_path, 12), grey(tmp_path, 70)
    assert missing_equalisation(EQUALISED, narrow, narrow.box) == HOW
    assert missing_equalisation(EQUALISED, wide, wide.box) is None  # it may be equalised
    done, not_done = grey(tmp_path, 10, equalised=True), grey(tmp_path, 71, equalised=False)
    assert missing_equalisation(EQUALISED, done, done.box) is None
    assert missing_equalisation(EQUALISED, not_done, not_done.box) == HOW
    assert missing_equalisation(PLAIN, narrow, narrow.box) is None
    assert missing_equalisation(Model({}, CARD), narrow, narrow.box) is None
    assert missing_equalisation({"a": EQUALISED, "b": EQUALISED}, narrow, narrow.box) == HOW


def test_models_that_want_it_otherwise_or_do_not_say_how_are_refused(tmp_path: Path) -> None:
    raw = grey(tmp_path, 12)
    with pytest.raises(
        ValueError, match=r"in different ways .*\(a: Equal.*clip_limit=0.02\), b: as it is\).* one by one"
    ):
        missing_equalisation({"a": EQUALISED, "b": PLAIN}, raw, raw.box)
    unknown = Model({}, replace(CARD, equalised=True))
    with pytest.raises(ValueError, match=r"the model learned on raw that was, .* give equalise=False"):
        missing_equalisation(unknown, raw, raw.box)


def test_what_is_equalised_as_it_is_read_is_looked_at_equalised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = grey(tmp_path, 12)
    with caplog.at_level(logging.WARNING, logger="asem_jax"):
        warn_of_appearance(EQUALISED, raw, raw.box, HOW)
        assert not caplog.records
        warn_of_appearance(EQUALISED, raw, raw.box)
    assert len(caplog.records) == 1
