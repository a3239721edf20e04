"""Who trains and which recordings are compared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from preprocess.data_sets.identification import choose_pairs, divide_subjects, read_ptb_xl_patients
from preprocess.packing.splits import split_of


def test_first_two_usable_candidates_from_two_groups():
    candidates = {
        "a": [["a1", "a2"], ["b1", "b2"], ["c1"]],
        "b": [["bad1", "d2"], ["bad2"], ["e1"]],
        "c": [["f1", "f2"]],
        "d": [["bad3"], ["g1"]],
        "e": [],
    }
    asked = []

    def usable(candidate):
        asked.append(candidate)
        return not candidate.startswith("bad")

    pairs = choose_pairs(candidates, usable)
    assert pairs.chosen == {"a": ("a1", "b1"), "b": ("d2", "e1")}
    assert pairs.unusable == {"b": ["bad1", "bad2"], "d": ["bad3"]}
    assert pairs.alone == ["c", "d", "e"]
    assert asked == ["a1", "b1", "bad1", "d2", "bad2", "e1", "f1", "bad3", "g1"]  # no more than needed


@given(st.dictionaries(st.integers(0, 99).map(str), st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4)))
def test_pairs_hold_for_any_candidates(candidates):
    pairs = choose_pairs(candidates, lambda number: number % 3 != 0)
    assert sorted([*pairs.chosen, *pairs.alone]) == sorted(candidates)
    for subject, groups in candidates.items():
        firsts = [next((c for c in group if c % 3), None) for group in groups]
        firsts = [c for c in firsts if c is not None][:2]
        assert pairs.chosen.get(subject) == (tuple(firsts) if len(firsts) == 2 else None)


def test_people_are_divided_by_their_hash():
    subjects = [f"p{i}" for i in range(2000)]
    divided = divide_subjects(subjects, 3, (0.8, 0.1, 0.1))
    assert sorted(subject for part in divided.values() for subject in part) == sorted(subjects)
    assert all(split_of(subject, 3, (0.8, 0.1, 0.1)) == split for split, part in divided.items() for subject in part)
    assert abs(len(divided["train"]) - 1600) < 60 and abs(len(divided["valid"]) - 200) < 45
    assert not divide_subjects(subjects, 3, (0.9, 0.1, 0.0))["test"]


def test_patients_of_ptb_xl(tmp_path):
    path = tmp_path / "ptbxl_database.csv"
    path.write_text("ecg_id,patient_id,age,recording_date\n17,15709.0,56.0,1984-11-09 09:17:34\n18,3,,1985-01-01 00:00:00\n")
    patients = read_ptb_xl_patients(path)
    assert patients[17] == ("15709", "1984-11-09T09:17:34", 56.0)
    assert patients[18].patient_id == "3" and np.isnan(patients[18].age)
    path.write_text("ecg_id,patient_id,age,recording_date\n17,1,5,x\n18,,,\n")
    with pytest.raises(DataError, match="line 3: no ecg_id or no patient_id"):
        read_ptb_xl_patients(path)
    path.write_text("ecg_id,age\n1,2\n")
    with pytest.raises(DataError, match="no column patient_id, recording_date"):
        read_ptb_xl_patients(path)


def test_real_ptb_xl_table(real_data):
    path = real_data / "ptb-xl" / "ptbxl_database.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    patients = read_ptb_xl_patients(path)
    assert sorted(patients) == list(range(1, 501))
    assert len({patient.patient_id for patient in patients.values()}) == 466
