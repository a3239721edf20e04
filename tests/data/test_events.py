"""The table of events."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmelt_plugin.data import events
from cmelt_plugin.data.events import Event, event_writer, read_events
from cmelt_plugin.errors import DataError


def write(path, *rows, rate=500.0):
    with event_writer(path, rate) as add:
        for record, *event in rows:
            add(record, [Event(*event)])
    return path


def test_events_come_back_in_order_and_at_any_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "_GROUP", 2)  # several groups of rows
    rows = [("a", "PVC", 10, 60), ("a", "p wave", 3, 9), ("b", "PVC", 1, 2), ("a", "PVC", 80, 99)]
    path = write(tmp_path / "events.parquet", *rows, rate=250)
    assert pq.ParquetFile(path).num_row_groups > 1
    assert read_events(path, ["a", "nobody"], 500) == {"a": {"PVC": [(20.0, 120.0), (160.0, 198.0)], "p wave": [(6.0, 18.0)]}}
    assert read_events(path, [], 500) == {}


def test_a_failed_write_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), event_writer(tmp_path / "events.parquet", 500) as add:
        add("a", [Event("PVC", 1, 2)])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert read_events(write(tmp_path / "empty.parquet"), ["a"], 500) == {}


@pytest.mark.parametrize(
    ("table", "rate"),
    [
        ({"record_id": ["a"], "kind": ["PVC"], "onset": [1]}, "500"),
        ({"record_id": ["a"], "kind": ["PVC"], "onset": [5], "offset": [5]}, "500"),
        ({"record_id": ["a"], "kind": ["PVC"], "onset": [-1], "offset": [5]}, "500"),
        ({"record_id": ["a"], "kind": ["PVC"], "onset": [None], "offset": [5]}, "500"),
        ({"record_id": ["a"], "kind": ["PVC"], "onset": ["x"], "offset": [5]}, "500"),
        ({"record_id": ["a"], "kind": ["PVC"], "onset": [1], "offset": [5]}, "nan"),
        ({"record_id": ["a"], "kind": ["PVC"], "onset": [1], "offset": [5]}, None),
    ],
)
def test_other_tables_are_refused(tmp_path, table, rate):
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table(table).replace_schema_metadata({"sample_rate": rate} if rate else {}), path)
    with pytest.raises(DataError, match="events.parquet: not a readable table of events"):
        read_events(path, ["a"], 500)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_events(tmp_path / "events.parquet", ["a"], 500)
    (tmp_path / "text.parquet").write_text("nothing")
    with pytest.raises(DataError, match="not a readable table"):
        read_events(tmp_path / "text.parquet", ["a"], 500)
