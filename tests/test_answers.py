"""Answers nobody expects: each bakes a project that parses and says the same, or is refused."""

import html
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from hypothesis import example, given, settings, strategies as st

from .conftest import ROOT, BakedProject, Baker

CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))

HARMLESS = {
    "quotes": """Ann "Q" O'Neil""",
    "triple quotes": '""" and \'\'\' and """',
    "backslashes": r"C:\new\table \" \\",
    "backslash at the end": "ends with \\",
    "braces": "{0} {name} {{ }} {% %} {# #}",
    "an unfinished template": "{% if {{ {#",
    "a GitHub expression": "${{ secrets.TOKEN }}",
    "a Jinja statement": "{% raw %}x{% endraw %}",
    "shell": "$(touch /tmp/x) `id` ; rm -rf / && true | tee $HOME",
    "TOML": 'x"] # [tool.ruff]',
    "YAML": "- a: b # c: &x *y !!python/object",
    "HTML": "<!-- <script>alert(1)</script>",
    "emoji": "Model \N{ROCKET} \N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    "right to left": "نموذج التنبؤ",
    "Hebrew with marks": "מודל \N{RIGHT-TO-LEFT MARK}חיזוי",
    "accents and CJK": "Prévision à 予測",
    "percent": "100 % of %s and %(x)s",
}

REFUSED = [
    ("project_name", "", "is empty"),
    ("project_name", "x" * 300, "has 300 characters"),
    ("project_name", "two\nlines", "U+000A"),
    ("description", "a\nb", "U+000A"),
    ("description", "carriage\rreturn", "U+000D"),
    ("description", "tab\there", "U+0009"),
    ("description", "nul\0", "U+0000"),
    ("description", "delete\x7f", "U+007F"),
    ("description", "override \u202e txt.exe", "U+202E"),
    ("description", "line\u2028separator", "U+2028"),
    ("description", "lone \ud800 surrogate", "U+D800"),
    ("description", "x" * 300, "has 300 characters"),
    ("description", " ", "a space"),
    ("author_name", "", "is empty"),
    ("author_name", " Ann", "a space"),
    ("author_name", "Ann\nBcc: everyone", "U+000A"),
    ("author_email", "nobody", "e-mail"),
    ("author_email", "a b@example.com", "e-mail"),
    ("author_email", "a@b", "e-mail"),
    ("author_email", 'a"@example.com', "e-mail"),
    ("author_email", "ann@пример.рф", "e-mail"),
    ("github_owner", "", "is empty"),
    ("github_owner", "acme/models", "GitHub"),
    ("github_owner", "-acme", "GitHub"),
    ("github_owner", "@acme", "GitHub"),
    ("github_owner", "x" * 40, "has 40 characters"),
    ("project_slug", "", "one folder"),
    ("project_slug", "..", "one folder"),
    ("project_slug", "../x", "one folder"),
    ("project_slug", "../../x/y", "one folder"),
    ("project_slug", "a/b/c", "one folder"),
    ("project_slug", r"a\b", "one folder"),
    ("project_slug", "C:x", "one folder"),
    ("project_slug", "x" * 300, "one folder"),
    ("project_slug", "nul\0", "one folder"),
    ("project_slug", "a\nb", "one folder"),
    ("project_slug", "${{ x }}", "one folder"),
    ("project_slug", "\N{ROCKET}", "one folder"),
    ("project_slug", "My-Model", "lower-case"),
    ("project_slug", "my_model", "lower-case"),
    ("project_slug", "model.", "lower-case"),
    ("project_slug", "a--b", "lower-case"),
    ("project_slug", "x" * 51, "has 51 characters"),
    ("project_slug", "con", "is taken"),
    ("project_slug", "com1", "is taken"),
    ("project_slug", "numpy", "is taken"),
    ("project_slug", "scikit-learn", "is taken"),
    ("package_name", "", "is empty"),
    ("package_name", "2fast", "lower-case"),
    ("package_name", "my-model", "lower-case"),
    ("package_name", "my model", "lower-case"),
    ("package_name", "My_Model", "lower-case"),
    ("package_name", "_private", "lower-case"),
    ("package_name", "../x", "lower-case"),
    ("package_name", "modèle", "lower-case"),
    ("package_name", "x" * 41, "has 41 characters"),
    ("package_name", "class", "is taken"),
    ("package_name", "mlrelease", "is taken"),
    ("package_name", "match", "is taken"),
    ("package_name", "print", "is taken"),
    ("package_name", "json", "is taken"),
    ("package_name", "sklearn", "is taken"),
    ("package_name", "tests", "is taken"),
    ("package_name", "nul", "is taken"),
]


@pytest.mark.parametrize("answer", HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_answer_arrives_as_it_was_given(
    bake: Callable[..., BakedProject], answer: str
) -> None:
    project = bake(
        project_name=answer, project_slug="churn-model", description=answer, author_name=answer
    )

    check_that_it_arrived(project, name=answer, description=answer, author=answer)


@pytest.mark.parametrize(("question", "answer", "reason"), REFUSED)
def test_a_bad_answer_is_refused_by_name(
    refuse: Callable[..., str], question: str, answer: str, reason: str
) -> None:
    given = {"project_slug": "churn-model", "package_name": "churn_model", question: answer}

    line = the_line_about(question, refuse(**given))

    assert reason in line
    assert CONTEXT[question] not in line  # a good answer is not a template's expression
    assert len(line) < 200


def test_all_faults_stand_in_one_message(refuse: Callable[..., str]) -> None:
    message = refuse(
        project_name="\N{BELL}x\a",
        project_slug="Bad_Slug",
        package_name="import",
        description="",
        author_name=" ",
        author_email="nobody",
        github_owner="a b",
    )

    faults = re.search(r"\n\nThese answers cannot be used:\n((?:  .*\n)+)\n", f"\n{message}")
    assert faults, "the message stands alone, between blank lines"
    assert [line.split(":")[0].strip() for line in faults[1].splitlines()] == [
        *("project_name", "project_slug", "package_name", "description"),
        *("author_name", "author_email", "github_owner"),
    ]


def test_a_slug_cannot_make_a_folder_outside(refuse: Callable[..., str], baker: Baker) -> None:
    """Cookiecutter makes the project's folder, and its parents, before the hook runs."""
    refuse(project_slug="../outside")
    refuse(project_slug=str(baker.folder / "absolute"))

    assert sorted(p.name for p in baker.folder.iterdir()) == ["cookiecutter.yaml", "output"]


def test_a_refusal_keeps_a_folder_that_was_there(baker: Baker) -> None:
    mine = baker.output / "churn-model" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    with pytest.raises(FailedHookException):
        cookiecutter_over(baker, project_slug="churn-model", author_email="nobody")

    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("question", "answer"),
    [("python_version", "3.9"), ("license", "WTFPL"), ("task", "clustering"), ("task", "{{ x }}")],
)
def test_a_choice_that_is_none_is_refused(baker: Baker, question: str, answer: str) -> None:
    with pytest.raises(ValueError, match=f"{question}, but the choices are"):
        baker.bake(**{question: answer})

    assert baker.left_behind() == []


def text(longest: int) -> st.SearchStrategy[str]:
    """What the hook accepts as text on one line."""
    hidden = st.characters(exclude_categories=["C", "Zl", "Zp"])
    return st.text(hidden, min_size=1, max_size=longest).filter(lambda text: text == text.strip())


@settings(max_examples=15, deadline=None)
@given(name=text(60), description=text(200), author=text(80))
@example(name="{{", description="{% endraw %}", author='"')
def test_any_text_on_one_line_arrives(
    template: Path, name: str, description: str, author: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Baker(template, Path(folder)).bake(
            project_name=name,
            project_slug="churn-model",
            description=description,
            author_name=author,
        )
        check_that_it_arrived(project, name, description, author)


@settings(max_examples=15, deadline=None)
@given(
    question=st.sampled_from(
        ["project_name", "project_slug", "package_name", "author_email", "github_owner"]
    ),
    answer=st.text(max_size=60) | st.from_regex(r"[a-z0-9_.@/\\-]{1,30}", fullmatch=True),
)
def test_any_answer_bakes_or_is_refused_and_leaves_nothing(
    template: Path, question: str, answer: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        baker = Baker(template, Path(folder))
        answers = {"project_slug": "churn-model", "package_name": "churn_model", question: answer}
        try:
            project = baker.bake(**answers)
        except FailedHookException:
            assert baker.left_behind() == []
        else:
            assert [path.name for path in baker.left_behind()] == [answers["project_slug"]]
            tomllib.loads(project.read("pyproject.toml"))


def test_typing_an_answer_and_passing_it_mean_the_same(baker: Baker) -> None:
    """Cookiecutter renders a passed answer as a template, and not a typed one; here neither is."""
    answer = 'costs ${{ price }} {% "5" %}'
    passed = baker.bake(project_slug="passed", description=answer)
    typed_answers = ["My Model", "typed", "typed", answer, *[""] * 6]
    subprocess.run(
        [
            *(sys.executable, "-m", "cookiecutter", str(baker.template)),
            *("--output-dir", str(baker.output), "--config-file", str(baker.config)),
        ],
        input="\n".join(typed_answers) + "\n",
        text=True,
        check=True,
        capture_output=True,
    )
    typed = BakedProject(baker.output / "typed")

    check_that_it_arrived(passed, "My Model", answer, "Your Name")
    check_that_it_arrived(typed, "My Model", answer, "Your Name")


def test_a_refusal_on_the_command_line_needs_no_traceback_to_be_understood(baker: Baker) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "cookiecutter", str(baker.template), "--no-input"),
            *("--output-dir", str(baker.output), "--config-file", str(baker.config)),
            *("project_slug=../x",),
        ],
        text=True,
        check=False,
        capture_output=True,
    )

    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "project_slug: '../x' cannot be the name of one folder" in result.stdout


def check_that_it_arrived(project: BakedProject, name: str, description: str, author: str) -> None:
    """The texts stand where they belong, as they were given, and break nothing around them."""
    settings = tomllib.loads(project.read("pyproject.toml"))
    readme = project.read("README.md")

    assert settings["project"]["description"] == description
    assert settings["project"]["authors"] == [{"name": author, "email": "you@example.com"}]
    assert settings["tool"]["mypy"]["strict"] is True
    assert f"Copyright (c) {author}\n" in project.read("LICENSE")
    assert html.unescape(readme).startswith(f"# {name}\n\n{description}\n\nGit decides")
    assert "<!--" not in readme


def test_a_file_that_is_kept_is_not_replaced_by_a_variant(
    baker: Baker, capfd: pytest.CaptureFixture[str]
) -> None:
    """cookiecutter keeps what is there (--skip-if-file-exists), and so do we."""
    params = baker.bake().path / "params.yaml"
    params.write_text("mine\n")
    cookiecutter_over(baker)
    assert params.read_text() == "mine\n"
    assert "params.yaml was there and is kept" in capfd.readouterr().out
    assert params.with_name("params.classification.yaml").exists()


def the_line_about(question: str, message: str) -> str:
    lines = [line for line in message.splitlines() if line.startswith(f"  {question}: ")]
    assert len(lines) == 1, message
    return lines[0]


def cookiecutter_over(baker: Baker, **answers: str) -> None:
    """Bake over a folder that is there."""
    from cookiecutter.main import cookiecutter

    cookiecutter(
        str(baker.template),
        no_input=True,
        extra_context=answers,
        output_dir=str(baker.output),
        config_file=str(baker.config),
        overwrite_if_exists=True,
    )
