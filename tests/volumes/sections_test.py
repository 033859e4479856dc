"""Folders of sections: the order of numbers, gaps, names that do not belong."""

import random

import pytest

from asem_jax.volumes.sections import ordered_sections


def folder_of(tmp_path, names):
    shuffled = list(names)
    random.Random(0).shuffle(shuffled)
    for name in shuffled:
        (tmp_path / name).touch()
    return tmp_path


def ordered(tmp_path, names, *, allow_gaps=False):
    return [path.name for path in ordered_sections(folder_of(tmp_path, names), allow_gaps=allow_gaps)]


def test_sections_come_in_the_order_of_their_numbers(tmp_path):
    names = [f"cell_3_{z}.tif" for z in range(8, 121)]
    assert ordered(tmp_path, names) == names


def test_the_counting_number_may_stand_beside_others_that_vary(tmp_path):
    names = [f"slice_{z:03d}_z={z * 5}nm.TIFF" for z in range(1, 12)]
    assert ordered(tmp_path, names) == names


def test_one_section_and_other_files_are_fine(tmp_path):
    assert ordered(tmp_path, ["only.tif", "notes.txt", ".hidden.tif"]) == ["only.tif"]


def test_a_missing_number_is_an_error_unless_allowed(tmp_path):
    names = ["s1.tif", "s2.tif", "s10.tif"]
    with pytest.raises(ValueError, match=r"lacks the sections numbered 3, 4, 5, 6, 7, 8, 9; .*allow_gaps"):
        ordered(tmp_path, names)
    assert ordered(tmp_path, names, allow_gaps=True) == names


def test_many_missing_numbers_are_counted(tmp_path):
    with pytest.raises(ValueError, match=r"numbered 2, 3, .*, 11 and 3 more; add them"):
        ordered(tmp_path, ["s1.tif", "s15.tif"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no .tif or .tiff file; give the folder"),
        (["s1.tif", "s01.tif", "s2.tif"], "s01.tif and s1.tif in .* have the same number; remove one"),
        (["s1.tif", "s1.tiff"], "have the same number"),
        (
            ["s1.tif", "s2.tif", "overview.tif"],
            r"overview.tif \(1 such\) among files named s#.*move or rename",
        ),
    ],
)
def test_names_that_give_no_order_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        ordered(tmp_path, names)
