"""A bake is quick: the whole command, as a person starts it."""

import resource
import sys

from .conftest import Baker, run


def test_a_bake_takes_less_than_a_second(baker: Baker) -> None:
    """Processor time, which equals the time on the clock of an idle machine: the best of three."""
    times = []
    for number in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(
            *(sys.executable, "-m", "cookiecutter", str(baker.template), "--no-input"),
            *("--config-file", str(baker.config), "--output-dir", str(baker.folder / str(number))),
            cwd=baker.template,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(times) < 1.0, times
