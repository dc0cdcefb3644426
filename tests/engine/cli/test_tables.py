from mlrelease.cli import tables


def test_columns_are_aligned_and_the_last_is_folded() -> None:
    text = tables.table(("a", "b"), [("long cell", "words " * 30), ("x", "y")])
    lines = text.splitlines()
    assert lines[0] == "a          b"
    assert lines[1].startswith("long cell  words words")
    assert lines[2].startswith("           words")
    assert lines[-1] == "x          y"
    assert max(map(len, lines)) <= tables.WIDTH


def test_a_name_cannot_move_the_cursor_or_forge_a_row() -> None:
    text = tables.table(("who", ""), [("\x1b[2Jmallory\nroot", "[bold]x[/bold]\r")])
    assert text.splitlines()[1].split() == ["[2Jmallory", "root", "[bold]x[/bold]"]
    assert len(text.splitlines()) == 2
