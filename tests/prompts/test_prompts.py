"""Reading class texts: our label sets and files of a user."""

import csv
import json

import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import FOLDER, absence_texts, class_names, class_titles, label_sets, load_prompts

NUMBER_OF_CLASSES = {
    "ptb-xl-super": 5,
    "ptb-xl-sub": 23,
    "ptb-xl-form": 19,
    "ptb-xl-rhythm": 12,
    "ptb-xl-all": 71,
    "cpsc2018": 9,
    "csn": 38,
    "cinc2021": 26,
    "code": 6,
    "lvef": 3,
    "echonext": 12,
}
COLUMNS = {
    "ptb-xl-super": "HYP NORM MI CD STTC",
    "ptb-xl-sub": "AMI LAFB/LPFB LVH STTC IMI SEHYP CRBBB WPW LAO/LAE NORM ISC AVB RAO/RAE LMI ISCI ISCA NST CLBBB ILBBB IRBBB "
    "PMI RVH IVCD",
    "ptb-xl-form": "PAC DIG HVOLT STD LPR QWAVE VCLVH NDT TAB LOWT ABQRS LNGQT PRC(S) NT STE NST PVC INVT LVOLT",
    "ptb-xl-rhythm": "SVARR BIGU STACH SARRH SBRAD TRIGU AFIB SR SVTAC PSVT AFLT PACE",
    "cpsc2018": "AFIB VPC NORM 1AVB CRBBB STE PAC CLBBB STD",
    "csn": "AQW UW SR WPW 2AVB AT VB ARS STTC SA STE VPB TWO STTU ALS APB 2AVB1 PRIE CCR CR AF AVB QTIE LBBB VEB SVT RBBB 1AVB "
    "STDD MI AFIB TWC PWC ERV RVH LVH ST JEB",
    "code": "1dAVb RBBB LBBB SB AF ST",
}
MERGED = {"LBBB": "CLBBB", "RBBB": "CRBBB", "SVPB": "PAC", "VPB": "PVC"}
FULL = {
    "label_set": "mine",
    "source": "a clinic",
    "classes": {
        "MI": {"name": "myocardial infarction", "abbreviations": ["MI"], "descriptions": ["old infarct", "q waves"]},
        "AF": {"name": "atrial fibrillation", "abbreviations": ["AF"], "descriptions": ["no p waves", "atrial fibrillation"]},
    },
}


def write(tmp_path, value, name="mine.json"):
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def test_there_is_a_file_for_every_label_set_and_no_other():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(label_sets()) == sorted(NUMBER_OF_CLASSES)


@pytest.mark.parametrize("label_set", NUMBER_OF_CLASSES)
def test_number_of_classes_and_every_kind_covers_them_all(label_set):
    names = class_names(label_set)
    assert len(names) == len(set(names)) == NUMBER_OF_CLASSES[label_set]
    for kind in ("name", "abbreviation", "description", "all"):
        prompts = load_prompts(label_set, kind)
        assert list(prompts) == names
        assert all(texts for texts in prompts.values())
    assert json.loads((FOLDER / f"{label_set}.json").read_text(encoding="utf-8"))["label_set"] == label_set


@pytest.mark.parametrize("label_set", COLUMNS)
def test_classes_are_the_columns_of_the_published_label_files_in_their_order(label_set):
    assert class_names(label_set) == COLUMNS[label_set].split()


def test_columns_equal_those_of_real_split_files(real_data):
    files = {
        "ptb-xl-super": "ptbxl/super_class/ptbxl_super_class_test.csv",
        "ptb-xl-form": "ptbxl/form/ptbxl_form_test.csv",
        "cpsc2018": "icbeb/icbeb_test.csv",
        "csn": "chapman/chapman_val.csv",
    }
    for label_set, name in files.items():
        with open(real_data / "splits" / name, encoding="utf-8", newline="") as handle:
            header = next(csv.reader(handle))
        assert header[-NUMBER_OF_CLASSES[label_set] :] == class_names(label_set)


def test_ptb_xl_all_has_the_statements_of_the_data_set_in_its_order(real_data):
    with open(real_data / "ptb-xl" / "scp_statements.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))[1:]
    assert class_names("ptb-xl-all") == [row[0] for row in rows]


def test_cinc2021_merges_the_equivalent_diagnoses_of_the_official_tables(real_data):
    with open(real_data / "scoring" / "cinc2021_dx_mapping_scored.csv", encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    codes = {}
    for row in table:
        codes.setdefault(MERGED.get(row["Abbreviation"], row["Abbreviation"]), []).append(row["SNOMEDCTCode"])
    classes = json.loads((FOLDER / "cinc2021.json").read_text(encoding="utf-8"))["classes"]
    assert {name: entry["snomed"] for name, entry in classes.items()} == codes
    assert class_names("cinc2021") == list(codes)
    abbreviations = load_prompts("cinc2021", "abbreviation")
    for row in table:
        assert row["Abbreviation"] in abbreviations[MERGED.get(row["Abbreviation"], row["Abbreviation"])]
    with open(real_data / "scoring" / "cinc2021_weights.csv", encoding="utf-8", newline="") as handle:
        header = next(csv.reader(handle))[1:]
    assert sorted(header) == sorted("|".join(entry["snomed"]) for entry in classes.values())


def test_kinds_of_a_full_file(tmp_path):
    path = write(tmp_path, FULL)
    assert load_prompts(path, "name") == {"MI": ["myocardial infarction"], "AF": ["atrial fibrillation"]}
    assert load_prompts(path, "abbreviation") == {"MI": ["MI"], "AF": ["AF"]}
    assert load_prompts(str(path)) == {"MI": ["old infarct", "q waves"], "AF": ["no p waves", "atrial fibrillation"]}
    assert load_prompts(path, "all") == {
        "MI": ["myocardial infarction", "MI", "old infarct", "q waves"],
        "AF": ["atrial fibrillation", "AF", "no p waves"],
    }


def test_titles_are_the_names_of_a_full_file(tmp_path):
    assert class_titles(write(tmp_path, FULL)) == {"MI": "myocardial infarction", "AF": "atrial fibrillation"}
    assert class_titles(write(tmp_path, {"MI": ["old infarct"]})) == {}


def test_texts_of_absence_are_apart_from_those_of_the_class(tmp_path):
    with_absence = json.loads(json.dumps(FULL))
    with_absence["classes"]["MI"]["absent"] = ["no infarct"]
    path = write(tmp_path, with_absence)
    assert absence_texts(path) == {"MI": ["no infarct"]}
    assert load_prompts(path, "all") == load_prompts(write(tmp_path, FULL, "without.json"), "all")
    assert absence_texts(write(tmp_path, {"MI": ["old infarct"]})) == {}
    with pytest.raises(DataError, match="class MI: absent must be a list"):
        absence_texts(write(tmp_path, full(absent=[""])))


def test_a_short_file_serves_every_kind_in_its_own_order(tmp_path):
    path = write(tmp_path, {"Z": ["zu spät", "late"], "A": "one text alone"})
    for kind in ("name", "abbreviation", "description", "all"):
        assert list(load_prompts(path, kind).items()) == [("Z", ["zu spät", "late"]), ("A", ["one text alone"])]


def test_a_short_file_may_have_a_class_named_classes(tmp_path):
    assert load_prompts(write(tmp_path, {"classes": ["a text"]})) == {"classes": ["a text"]}


def test_changing_what_was_returned_does_not_change_the_next_answer():
    load_prompts("code")["AF"].append("spoilt")
    assert "spoilt" not in load_prompts("code")["AF"]


@pytest.mark.parametrize("call", [class_names, load_prompts])
def test_an_unknown_label_set_is_answered_with_the_known_ones(call):
    with pytest.raises(DataError, match="ptb-xl-subclass.*known are ptb-xl-super, .*, code"):
        call("ptb-xl-subclass")


def test_unknown_kind():
    with pytest.raises(DataError, match="'names'.*name, abbreviation, description, all"):
        load_prompts("code", "names")


def full(**entry):
    return {"classes": {"MI": {"name": "myocardial infarction", "descriptions": ["x"], **entry}}}


@pytest.mark.parametrize(
    "value, message",
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("1" * 5_000, "not a JSON file|expected an object"),
        ([], "expected an object"),
        ({}, "expected an object"),
        ({"classes": {}}, "no class"),
        ({"MI": []}, "class MI has no text"),
        ({"MI": ["x"], "AF": [" "]}, "class AF: texts must be a list of texts"),
        ({"MI": {"name": "x"}}, "class MI: texts must be a list of texts"),
        ({"MI": [1]}, "class MI"),
        ('{"MI": ["x"], "MI": ["y"]}', "MI occurs twice"),
        ({"classes": {"MI": ["x"]}}, 'class MI must be an object with a "name"'),
        (full(name=""), 'class MI must be an object with a "name"'),
        (full(description=["x"]), "class MI has description; known are"),
        (full(descriptions=["x", 2]), "class MI: descriptions must be a list"),
        (full(descriptions=[]), "class MI has no description"),
    ],
)
def test_malformed_files_name_the_file_and_the_class(tmp_path, value, message):
    with pytest.raises(DataError, match=message) as caught:
        load_prompts(write(tmp_path, value))
    assert "mine.json" in str(caught.value)


def test_a_kind_that_a_class_lacks_is_an_error_only_when_asked_for(tmp_path):
    path = write(tmp_path, full())
    assert load_prompts(path, "all") == {"MI": ["myocardial infarction", "x"]}
    with pytest.raises(DataError, match="class MI has no abbreviation"):
        load_prompts(path, "abbreviation")
