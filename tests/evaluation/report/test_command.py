import re

import numpy as np
import pytest
from tiny import write_manifest

from tests.evaluation.example_results import example_scores, write_example

pytest.importorskip("matplotlib")

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.report.__main__ import main  # noqa: E402
from cmelt_plugin.evaluation.result_files import EMBEDDINGS_FILE  # noqa: E402


@pytest.fixture
def runs(tmp_path):
    write_example(tmp_path / "runs" / "zero_shot", excluded=["PSVT"])
    write_example(tmp_path / "runs" / "probe", kind="linear_probe", settings={"fraction": 0.01}, spread={"macro_auc": 0.01})
    scores = example_scores(200)
    labels = np.zeros((200, 2), dtype=np.float32)
    labels[np.arange(200), np.arange(200) % 2] = 1
    np.savez(
        tmp_path / "runs" / "zero_shot" / EMBEDDINGS_FILE,
        ecg=scores.scores,
        record_id=np.array(scores.record_id),
        labels=labels,
        names=np.array(["SR", "AFIB"]),
    )
    return tmp_path / "runs"


def test_page_and_tables(runs, tmp_path, capsys):
    manifest = write_manifest(tmp_path / "manifest")
    log = tmp_path / "train.log"
    log.write_text('2025-01-31 10:00:00 | INFO | train_inner | {"epoch": 1, "loss": "3.2", "num_updates": "50"}\n')
    dest = tmp_path / "out"
    assert main(["--runs", str(runs), "--dest", str(dest), "--manifest", str(manifest), "--log", str(log)]) == 0
    html = (dest / "report.html").read_text()
    for text in ("Table 3: Zero-shot", "Table 2: Linear probing", "▸ ours", "PSVT", "t-SNE", "ROC", "Precision–recall"):
        assert text in html, text
    assert "Confusion" in html and "report number 1" in html and "Training:" in html
    assert "120 records of 60 subjects" in html  # sample sizes stand beside the curves
    assert "SR (100)" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)  # nothing from outside
    assert sorted(path.name for path in (dest / "tables").iterdir()) == [
        f"table-{number}.{suffix}" for number in (2, 3) for suffix in ("csv", "md", "tex")
    ]
    table = (dest / "tables" / "table-3.md").read_text()
    assert "| C-MELT | 76.20 |" in table and "| records evaluated here | 120 |" in table
    printed = capsys.readouterr().out
    assert "2 results, 2 tables" in printed and "ours: PTBXL-Super" in printed


def test_of_several_fractions_the_largest_is_shown_class_by_class(tmp_path):
    for fraction in (0.1, 1.0, 0.01):
        settings = {"fraction": fraction, "n_train": int(1000 * fraction), "seeds": 3}
        write_example(tmp_path / "runs" / str(fraction), kind="linear_probe", settings=settings)
    assert main(["--runs", str(tmp_path / "runs"), "--dest", str(tmp_path / "out")]) == 0
    headings = re.findall("<h2>(.*?)</h2>", (tmp_path / "out" / "report.html").read_text())
    shown = [heading for heading in headings if "linear probe" in heading]
    assert len(shown) == 1 and "100 % of the training records" in shown[0]
    html = (tmp_path / "out" / "report.html").read_text()
    assert "15 columns without a result of yours are left out" in html
    assert "PTBXL-Super 10%" in html and "CSN 10%" not in html


def test_all_published_tables_on_request(runs, tmp_path):
    assert main(["--runs", str(runs), "--dest", str(tmp_path / "out"), "--all-tables"]) == 0
    assert len(list((tmp_path / "out" / "tables").glob("*.md"))) == 9
    assert "No result of yours belongs here yet" in (tmp_path / "out" / "report.html").read_text()


def test_bad_input(runs, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        main(["--runs", str(tmp_path / "nothing"), "--dest", str(tmp_path / "out")])
    (tmp_path / "empty.log").write_text("nothing\n")
    with pytest.raises(DataError, match="log_format=json"):
        main(["--runs", str(runs), "--dest", str(tmp_path / "out"), "--log", str(tmp_path / "empty.log")])
    (runs / "zero_shot" / EMBEDDINGS_FILE).write_bytes(b"broken")
    with pytest.raises(DataError, match="--keep-embeddings"):
        main(["--runs", str(runs), "--dest", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "report.html").exists()
