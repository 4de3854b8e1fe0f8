"""The table of muscles: its content, its file, its match with the shapes of a rig."""

from pathlib import Path

import pytest

from biomechau.rig.muscles import Muscle, Muscles

HEADER = "name,side,kind,action_units,shapes,source\n"


def test_the_facs_table_names_every_muscle_once_left_and_right_apart() -> None:
    muscles = Muscles.facs()
    paired = """
        frontalis_medialis frontalis_lateralis corrugator_supercilii levator_palpebrae
        orbicularis_oculi_orbitalis orbicularis_oculi_palpebralis orbicularis_oculi_pretarsalis
        levator_labii_alaeque_nasi levator_labii_superioris zygomaticus_minor zygomaticus_major levator_anguli_oris
        buccinator depressor_anguli_oris depressor_labii_inferioris mentalis risorius
    """
    single = """
        incisivii_labii orbicularis_oris_peripheralis orbicularis_oris orbicularis_oris_superior
        orbicularis_oris_inferior digastric
    """
    expected = {f"{name}_{side}" for name in paired.split() for side in ("left", "right")} | {*single.split()}
    assert set(muscles.names) == expected
    assert len(muscles) == len(set(muscles.names))


def test_the_facs_table_covers_the_units_of_the_coded_corpora() -> None:
    units = {unit for muscle in Muscles.facs() for unit in muscle.action_units}
    assert units >= {1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26}


def test_left_and_right_of_the_facs_table_mirror_each_other() -> None:
    by_name = {muscle.identifier: muscle for muscle in Muscles.facs()}
    for name, muscle in by_name.items():
        if muscle.side == "left":
            twin = by_name[name.removesuffix("left") + "right"]
            assert twin.shapes == tuple(shape.replace("_L", "_R") for shape in muscle.shapes)
            assert (twin.kind, twin.action_units) == (muscle.kind, muscle.action_units)


def test_a_saved_table_loads_as_it_was(tmp_path: Path) -> None:
    muscles = Muscles([*Muscles.facs(), Muscle("platysma", "both", "sheet", (21,), (), 'a "quoted", source')])
    muscles.save(tmp_path / "muscles.csv")
    assert Muscles.load(tmp_path / "muscles.csv") == muscles
    assert [path.name for path in tmp_path.iterdir()] == ["muscles.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: expected the columns name"),
        ("name,side,kind,action_units,shapes\n", "1: .*missing source"),
        (HEADER, " expected one muscle per line"),
        (HEADER + "a,left,sheet,1,jawOpen,x\nb,up,sheet,1,jawOpen,x\n", "3: side of b must be one of left"),
        (HEADER + "a,left,round,1,jawOpen,x\n", "2: kind of a must be one of sheet"),
        (HEADER + "a,left,sheet,one,jawOpen,x\n", "2: action_units must be whole numbers"),
        (HEADER + "a,left,sheet,0,jawOpen,x\n", "2: action units of a must be positive"),
        (HEADER + ",left,sheet,1,jawOpen,x\n", "2: name of a muscle must be 1 to 80 letters"),
        (HEADER + "a,left,sheet,1\n", "2: expected 6 cells, found no shapes"),
        (HEADER + "a,left,sheet,1,jawOpen,x,y\n", "2: expected 6 cells, found 7; quote"),
        ("name," + HEADER, "1: column name is given twice"),
        (HEADER + "a,left,sheet,1,jawOpen JawOpen,x\n", "2: shapes of a_left must be unique: 'jawOpen' and 'JawOpen'"),
        (HEADER + 'a,left,sheet,1,jawOpen,"x\nb,left,sheet,1,jawOpen,x\n', "3: unexpected end of data"),
        (HEADER + "a,left,sheet,1,jawOpen,x\na,left,sheet,2,jawOpen,x\n", "3: muscle a_left is given twice"),
    ],
)
def test_a_broken_table_is_refused_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"table\.csv:{message}"):
        Muscles.load(path)


@pytest.mark.parametrize(("start", "line"), [("", 1), (HEADER + "a,left,sheet,1,jawOpen,", 2)])
def test_a_cell_longer_than_csv_allows_is_refused_by_file_and_line(tmp_path: Path, start: str, line: int) -> None:
    path = tmp_path / "table.csv"
    path.write_text(start + "x" * 200_000)
    with pytest.raises(ValueError, match=rf"table\.csv:{line}: field larger than field limit"):
        Muscles.load(path)


def test_a_table_edited_by_hand_may_have_spaces_blank_lines_and_columns_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        'name, side, note, kind, action_units, shapes, source\n\na, left, mine, sheet, 1 2, jawOpen , "x, y"\n'
    )
    assert Muscles.load(path) == (Muscle("a", "left", "sheet", (1, 2), ("jawOpen",), "x, y"),)


@pytest.mark.parametrize("shape", ["jaw open", "jaw\topen", " jawOpen", ""])
def test_a_table_cannot_hold_a_shape_name_of_several_words(tmp_path: Path, shape: str) -> None:
    muscles = Muscles([Muscle("digastric", "both", "sheet", (27,), (shape,))])
    with pytest.raises(ValueError, match=f"one word in a table, digastric has {shape!r}".replace("\\", r"\\")):
        muscles.save(tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"name,\xff\xfe")
    with pytest.raises(ValueError, match="expected UTF-8 text"):
        Muscles.load(tmp_path / "table.csv")
    with pytest.raises(OSError, match="nowhere"):
        Muscles.load(tmp_path / "nowhere.csv")


def test_identical_identifiers_are_refused() -> None:
    with pytest.raises(ValueError, match="muscle digastric is given twice"):
        Muscles([Muscle("digastric", "both", "sheet", (27,), ())] * 2)


def test_a_shape_given_twice_in_any_spelling_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes of digastric .* 'jawOpen' and 'JawOpen'"):
        Muscle("digastric", "both", "sheet", (27,), ("jawOpen", "JawOpen"))
    with pytest.raises(TypeError, match="shapes of digastric must be a sequence of strings"):
        Muscle("digastric", "both", "sheet", (27,), "jawOpen")  # pyright: ignore[reportArgumentType]


def test_match_finds_shapes_in_any_spelling() -> None:
    match = Muscles.facs().match(["MouthSmileLeft", "mouthSmileRight"])
    assert match.muscles.names == ("zygomaticus_major_left", "zygomaticus_major_right")
    assert [muscle.shapes for muscle in match.muscles] == [("MouthSmileLeft",), ("mouthSmileRight",)]
    assert match.left_out["digastric"] == ("jawOpen",)
    assert match.left_out["levator_anguli_oris_left"] == ()


def test_one_shape_for_both_sides_makes_one_muscle_of_two() -> None:
    match = Muscles.facs().match(["browInnerUp", "mouthShrugLower"])
    assert match.muscles.names == ("frontalis_medialis", "mentalis")
    assert match.muscles[0].shapes == ("browInnerUp",)


def test_split_shapes_of_a_muscle_of_both_sides_are_taken_together() -> None:
    table = Muscles([Muscle("incisivii_labii", "both", "sphincter", (18,), ("mouthPucker",))])
    assert table.match(["mouthPucker_L", "mouthPucker_R"]).muscles[0].shapes == ("mouthPucker_L", "mouthPucker_R")


def test_both_halves_of_a_muscle_take_an_unsplit_shape_once() -> None:
    table = Muscles([Muscle("orbicularis_oris", "both", "sphincter", (24,), ("mouthPress_L", "mouthPress_R"))])
    assert table.match(["mouthPress"]).muscles[0].shapes == ("mouthPress",)


def test_shapes_of_several_words_are_matched() -> None:
    match = Muscles.facs().match(["mouth smile left", "jaw open"])
    assert [muscle.shapes for muscle in match.muscles] == [("mouth smile left",), ("jaw open",)]


def test_a_muscle_with_one_split_and_one_unsplit_shape_takes_all_three() -> None:
    table = Muscles(Muscle("m", side, "sheet", (1,), (f"a_{side[0]}", f"b_{side[0]}")) for side in ("left", "right"))
    match = table.match(["a_L", "a_R", "b"])
    assert match.muscles.names == ("m",)
    assert match.muscles[0].shapes == ("a_L", "b", "a_R")


def test_a_muscle_that_lacks_one_of_its_shapes_is_left_out() -> None:
    match = Muscles.facs().match(["mouthPress_L", "jawOpen"])
    assert match.muscles.names == ("digastric",)
    assert match.left_out["orbicularis_oris"] == ("mouthPress_R",)


@pytest.mark.parametrize(
    "name", ["=cmd|calc,x", "@SUM(1)", "-x", "a,b", 'a"b', "a\x1b[31m", "a b", "1a", "_a", "a\u202e", "a\n", "x" * 81]
)
def test_a_name_that_tables_and_terminals_cannot_show_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a muscle must be 1 to 80 letters") as caught:
        Muscle(name, "both", "sheet", (1,), ())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["frame", "Timestamp"])
def test_the_other_columns_of_a_table_of_forces_are_no_muscles(name: str) -> None:
    with pytest.raises(ValueError, match=f"a muscle cannot be called {name}"):
        Muscle(name, "both", "sheet", (1,), ())


def test_a_shape_that_cannot_be_printed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes of a must be printable, got 'x\\x1b\[31m'"):
        Muscle("a", "both", "sheet", (1,), ("x\x1b[31m",))


def test_a_muscle_is_no_axis_of_another() -> None:
    with pytest.raises(ValueError, match="muscle a_x has the name of the x axis"):
        Muscles(Muscle(name, "both", "sheet", (1,), ()) for name in ("a_x", "a"))


def test_text_that_begins_as_a_formula_is_marked_in_the_file(tmp_path: Path) -> None:
    muscles = Muscles([Muscle("mäusle.1-b", "both", "sheet", (1,), ("x",), "=1+1")])
    muscles.save(tmp_path / "m.csv")
    assert "'=1+1" in (tmp_path / "m.csv").read_text(encoding="utf-8")
    assert Muscles.load(tmp_path / "m.csv") == muscles
