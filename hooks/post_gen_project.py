"""Keep the files that belong to the answers, remove their variants, say what comes next."""

import hashlib
import json
import shutil
from pathlib import Path

ANSWERS: dict[str, str] = json.loads(r"""{{ cookiecutter | tojson }}""")

VARIANTS = {  # file of the project: (the question that decides, the answers that bring a variant)
    "params.yaml": ("task", ["classification", "regression"]),
    "policy.yaml": ("task", ["classification", "regression"]),
    "tests/test_model.py": ("task", ["classification", "regression"]),
    "LICENSE": ("license", ["MIT", "BSD-3-Clause", "Apache-2.0", "Proprietary"]),
}

NEXT_STEPS = """
  The repository is in {project_slug}/ and complete. Next:

    cd {project_slug}
    git init --initial-branch=main && git add --all && git commit -m "Start"
    make setup       installs what it needs, into .venv
    make rehearse    shows the whole life of a model, on this machine
    make check       lint, types and tests

  params.yaml says what is learnt, policy.yaml what a model must reach,
  README.md the rest.
"""


def variant(file: Path, answer: str) -> Path:
    """Name the file that holds one answer's variant: params.yaml -> params.regression.yaml."""
    return file.with_name(f"{file.stem}.{answer}{file.suffix}")


for name, (question, answers) in VARIANTS.items():
    file = Path(name)
    for answer in answers:
        if answer != ANSWERS[question]:
            variant(file, answer).unlink()
        elif file.exists() and file.read_bytes() != variant(file, answer).read_bytes():
            print(f"  {file} was there and is kept; the new one is {variant(file, answer)}")
        else:
            variant(file, answer).replace(file)

# What `make lint` compares the engine with.
ENGINE = Path("engine")
for cache in list(ENGINE.rglob("__pycache__")):  # of tests that ran in the template's folder
    shutil.rmtree(cache)
SUMS = {
    path.relative_to(ENGINE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in ENGINE.rglob("*")
    if path.is_file() and path.name != "SHA256SUMS"
}
lines = [f"{SUMS[name]}  {name}\n" for name in sorted(SUMS)]
(ENGINE / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")

if "_commit" not in ANSWERS:  # `cruft update` bakes twice, and speaks for itself
    print(NEXT_STEPS.format(**ANSWERS))
