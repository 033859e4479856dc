import numpy as np
import pytest

from asem_jax.measurement.distributions import describe
from asem_jax.reporting import studies

SIZES = describe(np.arange(100.0, 140.0))
MITO = {"count": 42, "touching_border": 2, "total_nm3": 3.5e9, "whole": {"volume_nm3": SIZES, "sphericity": SIZES}}


@pytest.fixture
def summary():
    return {"objects": {"mito": MITO}, "contacts": {}}


def test_sizes_come_with_their_units_and_tests_of_normality(summary, tmp_path):
    html = "".join(studies.measured_section(summary, tmp_path))
    assert "42 objects of 3.5 µm³ together; 2 touch" in html
    assert "<td>volume (nm³)</td>" in html and "<td>sphericity</td>" in html
    assert '<td class="number">119.5</td>' in html  # mean and median
    p = SIZES["normality"]["shapiro_wilk"]["p"]
    assert f'<td class="number">{p:.3f}</td>' in html
    assert "<img" not in html


def test_plots_are_shown_where_they_are(summary, tmp_path):
    (tmp_path / "objects_mito.png").write_bytes(b"\x89PNG")
    assert "".join(studies.measured_section(summary, tmp_path)).count("<img") == 1


def test_both_studies_and_contacts_are_shown(summary, tmp_path):
    summary["pores"] = {"count": 7, "diameter_nm": SIZES, "neighbour_nm": {"count": 0}}
    kinds = {"caveolae": {"width_nm": SIZES}, "other_pits": {"tilt_degrees": SIZES}}
    summary["pits"] = {"count": 9, **kinds, "by_volume": {"pits": {"caveolae": 5, "other_pits": 4}}}
    summary["contacts"] = {"mito_to_er": {"pairs": 3, "total_nm2": 12345.6, "area_nm2": {"count": 0}}}
    html = "".join(studies.measured_section(summary, tmp_path))
    assert "7 pores." in html and "<td>diameter (nm)</td>" in html and "<td>tilt (degrees)</td>" in html
    assert '<td>pits</td><td class="number">4</td><td class="number">5</td>' in html
    assert '<td class="number">12,346</td><td class="number">-</td>' in html


def test_claims_that_moved_are_counted():
    moved = {
        "organelles": {"er": {"label": 1, "claimed_voxels": 2000, "kept_voxels": 1900}, "none": _counts(0, 0)},
        "conflict_voxels": 1234,
        "moved": [{"step": "er_off", "from": "er", "to": None, "voxels": 100}],
    }
    html = "".join(studies.superimposed_section(moved))
    assert "claimed 1,234 voxels" in html and "<td>er off</td><td>er</td><td>nobody</td>" in html
    assert '<td class="number">100</td><td class="number">5.00%</td>' in html
    assert '<td class="number">0</td><td class="number">-</td>' in html


def _counts(claimed, kept):
    return {"label": 2, "claimed_voxels": claimed, "kept_voxels": kept}


def test_nothing_is_said_of_stages_that_did_not_run(tmp_path):
    assert studies.measured_section(None, tmp_path) == studies.superimposed_section(None) == []


@pytest.mark.parametrize(("p", "text"), [(None, "-"), (1e-9, "&lt; 0.001"), (0.25, "0.250")])
def test_p_is_never_zero(p, text):
    test = None if p is None else {"p": p, "statistic": 1.0}
    found = {"count": 3, "normality": {"shapiro_wilk": test, "dagostino_pearson": None}}
    assert f'<td class="number">{text}</td>' in studies._described({"a_nm": found})
