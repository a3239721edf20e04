"""Dividing reports into statements: the patterns of real ones, and no word lost."""

import csv
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.text.sentences import split_statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        # As machines and cardiologists write them, mostly without capital letters.
        ("sinus rhythm. normal ecg.", ["sinus rhythm.", "normal ecg."]),
        ("premature ventricular contraction(s). sinus rhythm.", ["premature ventricular contraction(s).", "sinus rhythm."]),
        ("st low in i, avl. t flat in v5,6 and i. old infarct", ["st low in i, avl.", "t flat in v5,6 and i.", "old infarct"]),
        ("st-hebung 0.5 mV v2.5. hf 80,5", ["st-hebung 0.5 mV v2.5.", "hf 80,5"]),
        ("flattern 3:1 .vorhof:ca. hf:265 linkstyp", ["flattern 3:1 .", "vorhof:ca. hf:265 linkstyp"]),
        ("cordichin stabil. novodigal 0.2 1x1", ["cordichin stabil.", "novodigal 0.2 1x1"]),
        ("indiff. typ, chron. anteriorer infarkt unspez. schaden m. rep.stoerung", None),
        ("ergo: 225 watt insbes. kein neg t", None),
        ("intraventr.leitungsstörung, path.ekg st.t changes", None),
        ("måttliga amplitudkrit. för hypertrofi, t.ex. v5", None),
        ("Z. n. Infarkt, V.a. Ischämie i.R. einer Digitalisgabe, z. B. Novodigal, incl. LAHB", None),
        ("dr. meier: o.B.", None),
        ("EKG o.B. Linkstyp", ["EKG o.B.", "Linkstyp"]),
        ("wpw syndrom typ b. linkstyp", ["wpw syndrom typ b.", "linkstyp"]),
        # Ordinals, and numbers that end a statement.
        ("2. AV-Block 2. Grades, av-block 1.grades", None),
        ("compared with the tracing of 12. 9. 91. similar", ["compared with the tracing of 12. 9. 91.", "similar"]),
        ("1. Sinus rhythm. 2. Left axis.", ["1. Sinus rhythm.", "2. Left axis."]),
        ("hebung v1 bis 3. linkstyp", ["hebung v1 bis 3.", "linkstyp"]),
        ("hf 65. linkstyp 80/min. qrs 120 ms. normal", ["hf 65.", "linkstyp 80/min.", "qrs 120 ms.", "normal"]),
        # Marks that are doubled, belong to what follows, or join a finding to its reason.
        ("sinus rhythm.. normal ecg!! lvh? strain", ["sinus rhythm..", "normal ecg!!", "lvh?", "strain"]),
        ("? old infarct. flat t ? ischaemia", ["? old infarct.", "flat t ? ischaemia"]),
        ("SINUS RHYTHM...normal P axis, V-rate 50- 99", None),
        ("sinus rhythm … normal axis", None),
        ("(sinus rhythm.) normal", ["(sinus rhythm.)", "normal"]),
        ("Sinus rhythm.Normal ECG", ["Sinus rhythm.", "Normal ECG"]),
        ("a;b;; c", ["a;", "b;", "c"]),
        # Lines: an indented one, or one after a comma, continues.
        ("Sinusrhythmus\nLinkstyp\r\nnormal", ["Sinusrhythmus", "Linkstyp", "normal"]),
        ("T abnormal\n    inferiorer Schaden\nLinkstyp", ["T abnormal\n    inferiorer Schaden", "Linkstyp"]),
        ("T abnormal,\ninferior\n\n  Linkstyp", ["T abnormal,\ninferior", "Linkstyp"]),
        ("", []),
        (" .. ; ! \n", []),
    ],
)  # fmt: skip
def test_statements(text, statements):
    assert split_statements(text) == ([text] if statements is None else statements)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*'ab1.,;:!?()"…\n\r\t i', "ca.", "2. ", "z. B.", "ä", "K."]), max_size=30).map("".join)
    | st.text()
)
def test_nothing_but_blanks_and_marks_is_lost(text):
    statements = split_statements(text)
    letters = re.compile(r"[\W_]+")
    assert letters.sub("", "".join(statements)) == letters.sub("", text)
    assert all(statement == statement.strip() and letters.sub("", statement) for statement in statements)


def test_long_runs_of_marks_are_read_once():
    """Trying every beginning of the run would take minutes."""
    assert split_statements("!" * 30_000 + "x") == ["!" * 30_000 + "x"]


def test_real_reports_are_divided_as_read_by_hand():
    """PTB-XL's English reports end every statement in a full stop, its German and Swedish ones hardly any."""
    path = Path(os.environ.get("CMELT_REAL_DATA", "")) / "ptb-xl" / "ptbxl_database.csv"
    if not path.is_file():
        pytest.skip("needs CMELT_REAL_DATA with PTB-XL")
    with open(path, encoding="utf-8", newline="") as handle:
        reports = [row["report"] for row in csv.DictReader(handle)]
    english = [text for text in reports if re.match(r"(sinus|atrial fibrillation|premature \w+ contraction)\b.*\.", text)]
    divided = [statement for text in english for statement in split_statements(text)]
    assert len(divided) > 3 * len(english) > 400
    assert not [statement for statement in divided if re.search(r"[a-z]{4}\. [a-z]", statement)]
    assert min(map(len, divided)) >= len("this ma")  # where the data set cuts reports off
    machine = [text for text in reports if "." not in text]
    assert len(machine) > 200 and all(len(split_statements(text)) == bool(text.strip()) for text in machine)
