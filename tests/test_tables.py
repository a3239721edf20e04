import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.tables import comma_separated, latex, latex_text, markdown

CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8)


def test_markdown_escapes_bars():
    assert markdown(["a", "b"], [["x|y", "1"]]) == "| a | b |\n|---|---:|\n| x\\|y | 1 |\n"


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=4))
def test_csv_is_read_back(rows):
    text = comma_separated(["a", "b"], rows)
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], *rows]


def test_latex_escapes_its_own_characters():
    assert latex_text("5 % & a_b ± 1 → {x}") == r"5 \% \& a\_b $\pm$ 1 $\rightarrow$ \{x\}"
    assert latex_text("\\") == r"\textbackslash{}"


def test_latex_has_one_column_per_head_and_bold_rows():
    text = latex(["m", "v"], [["ours", "1"], ["theirs", ""]], "cap_tion", bold=[0])
    assert r"\begin{tabular}{lr}" in text and r"\caption{cap\_tion}" in text
    assert r"\textbf{ours} & \textbf{1} \\" in text and r"theirs &  \\" in text
