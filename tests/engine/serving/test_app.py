"""The command: what it refuses before it serves, and in which words."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlrelease import errors, files
from mlrelease.scoring import features
from mlrelease.serving import app as serving_app, process as serving_process
from tests.engine.scoring.swap import swap_after_check
from tests.engine.trained import Trained


def test_a_changed_directory_is_refused_before_anything_in_it_is_loaded(
    trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text("not even JSON")
    with pytest.raises(errors.RefusedError, match="not loaded"):
        serving_app.serve(tmp_path, trained.digest, version="1", port=0)


@pytest.mark.parametrize("kind", ["trained", "fallback"])
def test_a_directory_that_is_swapped_after_the_check_is_served_as_it_was_checked(
    kind: str, impostor: Trained, tmp_path: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    honest: Trained = request.getfixturevalue(kind)
    directory = Path(shutil.copytree(honest.directory, tmp_path / "model"))
    loaded = list[Any]()

    def service(*given: Any, **more: Any) -> None:
        loaded.extend([*given, more["golden"]])
        raise errors.ModelError("enough")

    monkeypatch.setattr(serving_app, "Service", service)
    swapped = swap_after_check(monkeypatch, directory, impostor.directory)
    with pytest.raises(errors.ModelError, match="enough"):
        serving_app.serve(directory, honest.digest, version="1", port=0)
    card, runtime, digest, _, golden = loaded
    frame = features.to_frame(pd.DataFrame(honest.rows), card.signature.columns)
    inputs = features.to_inputs(frame, card.signature)
    assert swapped == [directory]
    assert (card, digest) == (honest.card, honest.digest)
    assert golden == files.read_json(honest.directory / "golden.json")
    assert np.array_equal(runtime.scores(inputs), honest.load().scores(inputs))
    assert not np.allclose(runtime.scores(inputs), impostor.load().scores(inputs))


def test_a_port_that_another_program_has_is_refused(trained: Trained) -> None:
    with serving_process.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.InputError, match=f"{port}: Address already in use"):
            serving_app.serve(trained.directory, trained.digest, version="1", port=port)


def test_the_entry_prints_one_line_and_ends_with_the_code_of_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = serving_app.main(
        ["--directory", str(tmp_path / "none"), "--digest", "sha256:0", "--version", "1"]
    )
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"].endswith("none: no such directory")
    assert json.loads(line)["log.level"] == "error"


def test_several_workers_and_a_hand_over_do_not_go_together(trained: Trained) -> None:
    with pytest.raises(errors.InputError, match="--workers goes with neither --public-port"):
        serving_app.serve(trained.directory, None, version="1", workers=2, public_port=0)


@pytest.mark.parametrize("content", ["", " \n", "two\nlines", "ümlaut"])
def test_a_token_that_no_header_can_hold_is_refused(
    trained: Trained, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(errors.InputError, match="token"):
        serving_app.serve(trained.directory, None, version="1", token_file=file)


@pytest.mark.parametrize("share", ["-0.1", "2", "half"])
def test_a_share_that_is_none_is_misuse(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        serving_app.main(["--directory", "d", "--version", "1", "--log-sample", share])
    assert caught.value.code == 2
    assert "--log-sample" in capsys.readouterr().err


def test_options_are_read_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(serving_app, "serve", lambda **options: given.update(options) or 0)
    for name, value in {
        "DIRECTORY": "d",
        "VERSION": "7",
        "WORKERS": "3",
        "ACCESS_LOG": "1",
    }.items():
        monkeypatch.setenv(f"MODEL_{name}", value)
    assert serving_app.main(["--port", "9"]) == 0
    assert given == {
        "directory": Path("d"), "version": "7", "workers": 3, "access_log": True, "port": 9,
        "digest": None,
    }  # fmt: skip
