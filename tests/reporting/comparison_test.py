import csv
import io

import pytest

from asem_jax.reporting import comparison


def _zone(f1, objects=None):
    interval = [f1 - 0.1, f1 + 0.1]
    return {
        **{"f1": f1, "iou": 0.5, "precision": 0.6, "recall": None},
        "intervals": {"f1": interval, "iou": None, "precision": None, "recall": None},
        **{"f1_difference": 0.25, "f1_difference_interval": [0.125, 0.375], "objects": objects},
    }


def _prediction(f1, *, measured):
    matches = {"0.5": {"f1": 0.75, "ap": 0.6, "pq": 0.5, "sq": 0.7, "rq": 0.75}}
    objects = {"voi_split": 0.25, "voi_merge": 1.5, "rand_error": 0.1, "matches": matches} if measured else None
    distances = {name: 7.25 for name in comparison.DISTANCES} | {"f1": {"40": 0.9}, "surface_f1": {"40": 0.8}}
    scores = {
        "all": _zone(f1, objects),
        "outside_exclusion_zone": _zone(f1 + 0.05, objects),
        "distances": distances if measured else None,
    }
    return {"kind": "objects", "threshold": None, "regions": {"strip": scores}, "total": scores}


@pytest.fixture
def predictions():
    return {"bare": _prediction(0.5, measured=False), "full": _prediction(0.75, measured=True)}


def test_rows_have_the_columns_of_all_and_are_empty_where_nothing_was_measured(predictions):
    rows = comparison.rows(predictions)
    assert [(row["prediction"], row["region"], row["scored_on"]) for row in rows] == [
        (name, region, zone) for name in predictions for region in ("strip", "total") for zone in comparison.ZONES
    ]
    bare, full, outside = rows[0], rows[4], rows[5]
    assert set(bare) == set(full)
    assert (bare["f1_within_40_nm"], full["f1_within_40_nm"], outside["f1_within_40_nm"]) == (None, 0.9, None)
    assert (bare["object_pq_iou_0.5"], outside["object_pq_iou_0.5"], outside["voi_merge"]) == (None, 0.5, 1.5)
    assert (full["f1_low"], full["iou_low"], full["f1_difference_high"]) == (0.65, None, 0.375)


def test_csv_is_read_back(predictions):
    rows = comparison.rows(predictions)
    again = list(csv.DictReader(io.StringIO(comparison.as_csv(rows))))
    assert again == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]


def test_table_has_a_line_per_region_and_prediction(predictions):
    head, *lines = comparison.as_table(predictions).splitlines()
    assert [line.split()[:2] for line in lines] == [[r, p] for r in ("strip", "total") for p in ("bare", "full")]
    assert lines[0].split()[2:] == ["0.550", "0.450-0.650", "0.500", *["-"] * 6]
    assert lines[1].split()[2:] == [
        "0.800",
        "0.700-0.900",
        "0.750",
        "0.900",
        "7.2",
        "7.2",
        "0.25+1.50",
        "0.750",
        "0.500",
    ]
    assert len({len(line) for line in [head, *lines]}) == 1
