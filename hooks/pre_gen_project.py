"""Check every answer before a file is written; name all faults in one message."""

import builtins
import json
import keyword
import re
import sys
import unicodedata

ANSWERS: dict[str, str] = json.loads(r"""{{ cookiecutter | tojson }}""")
WORD = "[A-Za-z0-9]+"
TEXT = (r"\S(.*\S)?", "starts or ends with a space")
NAME = "is not made of lower-case letters, digits and single"
MAIL = rf"[A-Za-z0-9_.+-]+@{WORD}([.-]{WORD})*\.{WORD}"
RULES = {  # question: (shape, what is wrong, most characters, a good answer)
    "project_name": (*TEXT, 60, "Churn Model"),
    "project_slug": (r"[a-z0-9]+(-[a-z0-9]+)*", f"{NAME} hyphens", 50, "churn-model"),
    "package_name": (r"[a-z][a-z0-9]*(_[a-z0-9]+)*", f"{NAME} underscores", 40, "churn_model"),
    "description": (*TEXT, 200, "Tells which customers will leave within a month."),
    "author_name": (*TEXT, 80, "Ann O'Neil"),
    "author_email": (MAIL, "is not an e-mail address", 100, "ann@example.com"),
    "github_owner": (rf"{WORD}([-_]{WORD})*", "is not a GitHub account", 39, "acme"),
}
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # line breaks, bidirectional overrides, ...
JOINERS = "\u200c\u200d\u200e\u200f"  # unseen, but part of Persian, Hebrew and emoji
WINDOWS = re.compile("con|prn|aux|nul|(com|lpt)[0-9]")  # names of its devices
PYTHON = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *sys.stdlib_module_names}
NEEDED = (
    " arro3 arro3_core arro3_io check_jsonschema docker engine google httptools httpx hypothesis"
    " markdown_it markdown_it_py matplotlib mlrelease msgspec mypy numpy onnx onnxruntime pandas"
    " pandas_stubs pandera pil pillow prometheus_client protobuf pyarrow pydantic pytest"
    " pytest_cov pytest_xdist pyyaml rich ruff schemathesis scikit_learn scipy skl2onnx sklearn"
    " requests skops src tests typer types_pyyaml uvicorn uvloop xdist yaml zizmor "
)


def fault(question: str) -> str:
    """Say what is wrong with an answer; nothing when it is good."""
    answer, (shape, wrong, most, _) = ANSWERS[question], RULES[question]
    name = answer.replace("-", "_") if question in ("project_slug", "package_name") else ""
    for char in answer:
        if unicodedata.category(char) in HIDDEN and char not in JOINERS:
            return f"holds the unseen character U+{ord(char):04X}"
    if len(answer) > most:
        return f"has {len(answer)} characters, at most {most} fit"
    if not re.fullmatch(shape, answer):
        return wrong if answer else "is empty"
    if WINDOWS.fullmatch(name) or f" {name} " in NEEDED:
        return "is taken by Windows, or by something this project needs"
    return "is taken by Python itself" if question == "package_name" and name in PYTHON else ""


lines = [
    f"  {question}: {ANSWERS[question][:40]!a} {problem}; a good answer: {rule[3]}"
    for question, rule in RULES.items()
    if (problem := fault(question))
]
if lines:
    sys.exit("\n".join(["", "These answers cannot be used:", *lines, ""]))
