import csv
import sys

import numpy as np
import pytest

from asem_jax.measurement.tables import check_formats, replaced, rows_where, write_table

TABLE = {
    "id": np.array([3, 2**40], np.uint64),
    "volume_nm3": np.array([1 / 3, np.nan]),
    "is_whole": np.array([True, False]),
    "kind": np.array(["a", "b,c"]),
}


def test_csv_has_seven_digits_and_empty_fields(tmp_path):
    write_table(TABLE, tmp_path / "new", "objects", ("csv",))
    rows = list(csv.reader((tmp_path / "new" / "objects.csv").read_text().splitlines()))
    assert rows == [list(TABLE), ["3", "0.3333333", "True", "a"], [str(2**40), "", "False", "b,c"]]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["objects.csv"]


def test_parquet_keeps_types_and_all_digits(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(TABLE, tmp_path, "objects", ("csv", "parquet"))
    table = parquet.read_table(tmp_path / "objects.parquet")
    assert table.column_names == list(TABLE)
    assert table["id"].to_pylist() == [3, 2**40] and table["volume_nm3"].to_pylist() == [1 / 3, None]
    assert str(table.schema.field("id").type) == "uint64" and str(table.schema.field("is_whole").type) == "bool"


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError(f"{part}: disk full")

    with pytest.raises(OSError, match="disk full"):
        replaced(path, fail)
    assert path.read_text() == "old"


def test_unknown_and_missing_formats_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"tables=\('csv', 'xls'\) names 'xls'; there are csv and parquet"):
        check_formats(("csv", "xls"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"tables=\('parquet',\) needs pyarrow .* pip install 'asem_jax\[tables\]'"):
        check_formats(("parquet",))


def test_rows_are_chosen():
    assert rows_where(TABLE, TABLE["is_whole"])["kind"].tolist() == ["a"]
