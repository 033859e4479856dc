"""Names of labels: VAST's metadata file, numbers by name, heirs of a name, names that are not there."""

import numpy as np
import pytest

from asem_jax.volumes.label_names import Renumbering, Segment, read_vast, renumbering

HEADER = """%% VAST segmentation metadata
% Columns: Nr flags red1 green1 blue1 pattern1 red2 green2 blue2 pattern2 anchorx anchory anchorz parentnr ... "name"

"""


def line(number, name, parent=0):
    values = [number, 0, 255, 0, 0, 0, 0, 255, 0, 0, 10, -1, 30, parent, 0, 0, 0, number, 0, 0, 0, 9, 9, 9]
    return "  ".join(str(value) for value in values) + f'  "{name}"\n'


def test_segments_of_vast_are_read_with_their_names_and_parents(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text(HEADER + line(0, "Background") + line(3, 'mito "A" 1', 7) + line(7, "mito"))
    assert read_vast(path) == {0: Segment("Background", 0), 3: Segment('mito "A" 1', 7), 7: Segment("mito", 0)}


SEGMENTS = {
    0: Segment("Background", 0),
    1: Segment("mito", 0),
    2: Segment("mito 1", 1),
    3: Segment("crista", 2),
    4: Segment("er", 0),
    5: Segment("er", 0),
}


def test_a_name_counts_for_all_of_it_and_what_is_below():
    found = renumbering({"mito": 1, "er": 2, "crista": 3}, SEGMENTS, "names")
    assert dict(zip(found.known, found.wanted, strict=True)) == {1: 1, 2: 1, 3: 3, 4: 2, 5: 2}
    labels = np.array([[0, 1, 2], [3, 4, 900]], np.uint64)
    written = found.apply(labels)
    assert written.tolist() == [[0, 1, 1], [3, 2, 0]] and written.dtype == np.uint8


def test_numbers_are_names_too_and_large_ones_stay_exact():
    found = renumbering({"2": 1, "18446744073709551615": 70000}, {}, "names")
    assert found.dtype == np.uint32
    assert found.apply(np.array([1, 2, 2**64 - 1, 2**64 - 2], np.uint64)).tolist() == [0, 1, 70000, 0]
    assert Renumbering((1,), (0,)).apply(np.array([1, 2])).tolist() == [0, 0]


def test_a_tree_that_bites_its_tail_ends():
    assert renumbering({"a": 1}, {1: Segment("a", 0), 2: Segment("b", 3), 3: Segment("c", 2)}, "names").known == (1,)


def test_names_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"names: no segment is called 'mit'; nearest: mito.* Give one of those"):
        renumbering({"mit": 1}, SEGMENTS, "names")
    with pytest.raises(ValueError, match=r"no file with names is given \(names_file\)"):
        renumbering({"mito": 1}, {}, "names")
    with pytest.raises(ValueError, match="'mito' is to become -1; give a whole number"):
        renumbering({"mito": -1}, SEGMENTS, "names")
    with pytest.raises(FileNotFoundError, match=r"no.txt is not there; in VAST"):
        read_vast(tmp_path / "no.txt")
    (tmp_path / "bad.txt").write_text(HEADER + "1 2 3 mito\n")
    with pytest.raises(ValueError, match=r"bad.txt, line 4: '1 2 3 mito' is no segment of VAST"):
        read_vast(tmp_path / "bad.txt")
