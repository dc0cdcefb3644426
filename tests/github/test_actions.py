"""The runner runs workflows as GitHub would, and refuses what it cannot run that way."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import httpx
import pytest

from .actions import Actions, Run
from .concurrency import evaluate
from .pins import pinned
from .records import WorkflowRun
from .repository import Repository
from .results import worst
from .standin import GitHub
from .workflows import WorkflowError

pytestmark = pytest.mark.slow

CHECKOUT = pinned("actions/checkout")
UPLOAD = pinned("actions/upload-artifact")
DOWNLOAD = pinned("actions/download-artifact")


@pytest.fixture(scope="module")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHub]:
    """One server for all; each test has a repository of its own."""
    with GitHub(tmp_path_factory.mktemp("github")) as github:
        yield github
        assert github.unknown == []


@pytest.fixture
def repository(github: GitHub) -> Repository:
    return github.create_repository(f"acme/model-{len(github.repositories)}")


@pytest.fixture
def actions(github: GitHub, repository: Repository, tmp_path: Path) -> Iterator[Actions]:
    with Actions(github, repository, tmp_path / "runs", seconds=60) as actions:
        yield actions


Push = Callable[..., list[Run]]


@pytest.fixture
def push(github: GitHub, repository: Repository, actions: Actions) -> Push:
    """Commit workflows (by name) and other files to main, and run what that starts."""

    def push(workflows: dict[str, str], **files: str) -> list[Run]:
        written = {f".github/workflows/{name}.yml": text for name, text in workflows.items()}
        github.commit(
            repository, written | {name.replace("__", "/"): files[name] for name in files}
        )
        return actions.run_until_quiet()

    return push


def reported(github: GitHub, repository: Repository) -> list[WorkflowRun]:
    return [run for run in github.runs if run.repository == repository.full_name]


def workflow(jobs: str, on: str = "push", name: str = "ci", more: str = "permissions: {}") -> str:
    return f"name: {name}\non: {on}\n{more}\njobs:\n{indent(dedent(jobs), '  ')}"


def job(steps: str, more: str = "") -> str:
    """One job, `job`, with steps."""
    head = f"job:\n  runs-on: ubuntu-latest\n{indent(dedent(more), '  ')}\n  steps:\n"
    return workflow(head + indent(dedent(steps), "    "))


def test_jobs_have_results_outputs_and_summaries_of_their_own(
    push: Push, github: GitHub, repository: Repository
) -> None:
    main = """
    leg:
      name: Leg ${{ matrix.python }}
      runs-on: ubuntu-latest
      strategy: {fail-fast: false, matrix: {python: ["3.11", "3.12"]}}
      steps:
        - {run: exit 3, continue-on-error: true}
        - env: {PYTHON: "${{ matrix.python }}"}
          run: |
            echo "# $PYTHON" >> "$GITHUB_STEP_SUMMARY"
            test "$PYTHON" != 3.11
            sleep 0.5 # so that it ends after the other, whose failure act gives to both
    unnamed:
      runs-on: ubuntu-latest
      strategy: {matrix: {z: [1], a: [x]}}
      outputs:
        lines: ${{ steps.some.outputs.lines }}
        is: ${{ steps.some.outputs.lines != '' }}
      steps:
        - {run: exit 3, continue-on-error: true}
        - {id: some, run: "printf 'lines<<E\\\\none\\\\ntwo\\\\nE\\\\n' >> $GITHUB_OUTPUT"}
    after-leg:
      needs: leg
      runs-on: ubuntu-latest
      steps: [{run: exit 0}]
    call:
      name: Call it
      needs: unnamed
      uses: ./.github/workflows/_called.yml
      with: {text: "${{ needs.unnamed.outputs.is }}"}
    not-called:
      if: github.event_name == 'schedule'
      uses: ./.github/workflows/_called.yml
      with: {text: "no"}
    gate:
      if: always()
      needs: [leg, unnamed, after-leg, call, not-called]
      runs-on: ubuntu-latest
      outputs: {results: "${{ join(needs.*.result, ' ') }}", got: "${{ needs.call.outputs.text }}"}
      steps: [{run: exit 0}]
    """
    called = """
    inner:
      name: Inner
      runs-on: ubuntu-latest
      outputs: {text: "${{ steps.say.outputs.text }}"}
      steps:
        - id: say
          env: {TEXT: "${{ inputs.text }}"}
          run: echo "text=$TEXT!" >> "$GITHUB_OUTPUT"
    """
    call = (
        "{workflow_call: {inputs: {text: {type: string, required: true}},"
        " outputs: {text: {value: '${{ jobs.inner.outputs.text }}'}}}}"
    )

    (run,) = push({"ci": workflow(main), "_called": workflow(called, call, "called")})

    assert {name: entry.result for name, entry in run.jobs.items()} == {
        "Leg 3.11": "failure",
        "Leg 3.12": "success",
        "unnamed (1, x)": "success",
        "after-leg": "skipped",
        "Call it": "success",
        "Call it / Inner": "success",
        "not-called": "skipped",
        "gate": "success",
    }, run.log
    assert run.conclusion == "failure"
    assert run.jobs["Leg 3.11"].summary == "# 3.11\n"
    assert run.jobs["unnamed (1, x)"].outputs == {"lines": "one\ntwo", "is": "true"}
    assert run.jobs["Call it"].outputs == {"text": "true!"}
    results = sorted(run.jobs["gate"].outputs["results"].split())
    assert results == ["failure", "skipped", "skipped", "success", "success"]
    assert run.jobs["gate"].outputs["got"] == "true!"
    (seen,) = reported(github, repository)
    assert seen.conclusion == "failure"
    assert set(seen.jobs) == set(run.jobs) - {"Call it"}  # a call is no check, its jobs are
    assert seen.jobs["after-leg"] == "skipped"


def test_a_job_sees_what_it_checks_out_and_only_that(push: Push) -> None:
    text = job(
        f"""
        - run: test -z "$(ls -A)"
        - uses: {CHECKOUT}
          with: {{persist-credentials: false}}
        - run: |
            test "$(git rev-parse HEAD)" = "$GITHUB_SHA"
            test "$(git branch --show-current)" = main
            test "$(git rev-list --count HEAD)" = 1
            grep -ri authorization .git && exit 1 || true
        - uses: {CHECKOUT}
          with: {{fetch-depth: 0, path: whole}}
        - run: |
            test "$(git -C whole rev-list --count HEAD)" = 2
            grep -q AUTHORIZATION whole/.git/config
            git -C whole fetch origin
        - uses: {CHECKOUT}
          with: {{ref: "no-such-branch", path: other}}
          continue-on-error: true
          id: other
        - run: test "${{{{ steps.other.outcome }}}}" = failure
        - uses: ./.github/actions/hello
          with: {{whom: world}}
        """,
        "permissions: {contents: read}",
    )
    hello = """
        name: hello
        inputs: {whom: {required: true}}
        runs:
          using: composite
          steps:
            - run: echo "hello $WHOM" >> "$GITHUB_STEP_SUMMARY"
              shell: bash
              env: {WHOM: "${{ inputs.whom }}"}
        """

    push({}, README="nothing yet")
    (run,) = push({"ci": text}, **{".github__actions__hello__action.yml": dedent(hello)})

    assert run.conclusion == "success", run.log
    assert run.summary == "hello world\n"


def test_each_job_has_a_token_with_its_permissions_only(push: Push, repository: Repository) -> None:
    def pushes(name: str, permissions: str) -> str:
        return f"""
        {name}:
          runs-on: ubuntu-latest
          permissions: {permissions}
          steps:
            - uses: {CHECKOUT}
              with: {{fetch-depth: 0}}
            - run: git push --quiet origin HEAD:refs/heads/by-{name}
        """

    def called(name: str, permissions: str) -> str:
        return f"""
        {name}:
          permissions: {permissions}
          uses: ./.github/workflows/_push.yml
        """

    nothing = f"""
    none:
      runs-on: ubuntu-latest
      permissions: {{}}
      steps: [{{uses: {CHECKOUT}}}]
    """
    jobs = "\n".join(
        dedent(text)
        for text in (
            pushes("reads", "{contents: read}"),
            pushes("writes", "{contents: write}"),
            called("calls-reading", "{contents: read}"),
            called("calls-writing", "{contents: write}"),
            nothing,
        )
    )
    inner = f"""
    inner:
      runs-on: ubuntu-latest
      steps:
        - uses: {CHECKOUT}
          with: {{persist-credentials: false, fetch-depth: 0}}
        - env: {{TOKEN: "${{{{ secrets.GITHUB_TOKEN }}}}"}}
          run: |
            echo "pushing with $TOKEN"
            to="http://x:$TOKEN@${{GITHUB_SERVER_URL#http://}}/$GITHUB_REPOSITORY"
            git push --quiet "$to" HEAD:refs/heads/by-call
    """
    repository.private = True

    (run,) = push({"ci": workflow(jobs), "_push": workflow(inner, "workflow_call", "push", "")})

    assert {name: entry.result for name, entry in run.jobs.items() if not entry.calls} == {
        "reads": "failure",
        "writes": "success",
        "calls-reading / inner": "failure",
        "calls-writing / inner": "success",
        "none": "failure",
    }, run.log
    assert set(repository.refs("refs/heads/")) == {
        f"refs/heads/{name}" for name in ("main", "by-writes", "by-call")
    }
    assert "ghs_" not in run.log
    assert run.log.count("pushing with ***") == 2


def test_a_pull_request_runs_its_merge_commit_and_reports_to_its_head(
    github: GitHub, repository: Repository, actions: Actions
) -> None:
    text = workflow(
        f"""
        job:
          runs-on: ubuntu-latest
          permissions: {{contents: read}}
          steps:
            - uses: {CHECKOUT}
            - env:
                HEAD: ${{{{ github.event.pull_request.head.sha }}}}
                SECRET: ${{{{ secrets.KEY }}}}
              run: |
                cat base.txt topic.txt
                echo "$GITHUB_REF $GITHUB_REF_NAME $GITHUB_HEAD_REF $GITHUB_BASE_REF secret=$SECRET"
                test "$(git rev-parse HEAD)" = "$GITHUB_SHA" && test "$GITHUB_SHA" != "$HEAD"
        """,
        "pull_request",
    )
    actions.secrets["KEY"] = "opensesame"
    github.commit(repository, {".github/workflows/ci.yml": text, "topic.txt": "old"})
    head = github.commit(repository, {"topic.txt": "new"}, branch="topic")
    github.commit(repository, {"base.txt": "newer base"})
    pull = {"title": "Topic", "head": "topic", "base": "main", "body": ""}
    api = f"{github.api_url}/repos/{repository.full_name}/pulls"
    ann = {"Authorization": f"Bearer {github.user('ann')}"}
    httpx.post(api, json=pull, headers=ann).raise_for_status()

    (run,) = actions.run_until_quiet()

    assert run.conclusion == "success", run.log
    assert "newer base" in run.log
    assert "refs/pull/1/merge 1/merge topic main secret=***" in run.log
    (seen,) = reported(github, repository)
    assert (seen.sha, seen.jobs) == (head, {"job": "success"})

    github.commit(repository, {"topic.txt": "another"})  # main moves; the head follows
    github.commit(repository, {"topic.txt": "third"}, branch="topic")
    assert actions.run_until_quiet() == []  # it conflicts


def test_a_fork_gets_neither_secrets_nor_a_token_that_writes(
    github: GitHub, repository: Repository, actions: Actions
) -> None:
    text = workflow(
        f"""
        job:
          runs-on: ubuntu-latest
          permissions: {{contents: write, id-token: write}}
          steps:
            - uses: {CHECKOUT}
              with: {{fetch-depth: 0}}
            - env: {{SECRET: "${{{{ secrets.KEY }}}}"}}
              run: test -z "$SECRET"
            - run: git push --quiet origin HEAD:refs/heads/stolen
        """,
        "pull_request",
    )
    actions.secrets["KEY"] = "opensesame"
    github.commit(repository, {".github/workflows/ci.yml": text})
    bob = github.user("bob", role="read")
    fork = github.fork(repository.full_name, "bob")
    github.commit(fork, {"README.md": "better"}, branch="topic", by=bob)
    pull = {"title": "Topic", "head": "bob:topic", "base": "main", "body": ""}
    api = f"{github.api_url}/repos/{repository.full_name}/pulls"
    httpx.post(api, json=pull, headers={"Authorization": f"Bearer {bob}"}).raise_for_status()

    (run,) = actions.run_until_quiet()

    assert run.conclusion == "failure", run.log
    assert f"Permission to {repository.full_name}.git denied" in run.log
    assert repository.branch("stolen") is None


def test_artifacts_are_kept_under_one_name_each(push: Push) -> None:
    text = workflow(
        f"""
        makes:
          runs-on: ubuntu-latest
          steps:
            - run: mkdir -p out/deep out/.hidden
            - run: echo 1 | tee out/a.txt out/deep/b.txt out/.hidden/c
            - {{uses: {UPLOAD}, with: {{name: all, path: out, if-no-files-found: error}}}}
            - uses: {UPLOAD}
              with:
                name: some
                path: |
                  out/**/*.txt
                  !out/deep/**
            - {{uses: {UPLOAD}, with: {{name: none, path: nothing}}}}
            - id: none
              uses: {UPLOAD}
              with: {{name: none, path: nothing, if-no-files-found: error}}
              continue-on-error: true
            - id: twice
              uses: {UPLOAD}
              with: {{name: all, path: out}}
              continue-on-error: true
            - run: test "${{{{ steps.none.outcome }}}}" = failure
            - run: test "${{{{ steps.twice.outcome }}}}" = failure
        takes:
          needs: makes
          runs-on: ubuntu-latest
          steps:
            - {{uses: {DOWNLOAD}, with: {{name: all, path: here}}}}
            - {{uses: {DOWNLOAD}, with: {{pattern: "so*", path: each}}}}
            - {{uses: {DOWNLOAD}, with: {{path: merged, merge-multiple: true}}}}
            - run: find . -type f | sort >> "$GITHUB_STEP_SUMMARY"
            - {{uses: {DOWNLOAD}, with: {{name: missing}}}}
        """
    )

    (run,) = push({"ci": text})

    assert {name: entry.result for name, entry in run.jobs.items()} == {
        "makes": "success",
        "takes": "failure",
    }, run.log
    assert run.summary.split() == [
        "./each/some/a.txt",
        "./here/a.txt",
        "./here/deep/b.txt",
        "./merged/a.txt",
        "./merged/deep/b.txt",
    ]
    assert "Artifact not found for name: missing" in run.log
    assert sorted(run.artifacts) == ["all", "some"]


def test_attestations_are_checked_and_recorded(push: Push, repository: Repository) -> None:
    attest, digest = pinned("actions/attest"), f"sha256:{'a' * 64}"
    name = "ghcr.io/acme/my-model"
    text = workflow(
        f"""
        job:
          runs-on: ubuntu-latest
          permissions: {{attestations: write, id-token: write}}
          steps:
            - id: good
              uses: {attest}
              with: {{subject-name: {name}, subject-digest: "{digest}"}}
            - run: test -f "${{{{ steps.good.outputs.bundle-path }}}}"
            - id: not-logged-in
              uses: {attest}
              with: {{subject-name: {name}, subject-digest: "{digest}", push-to-registry: true}}
              continue-on-error: true
            - run: test "${{{{ steps.not-logged-in.outcome }}}}" = failure
            - uses: {attest}
              with: {{subject-name: "{name}:latest", subject-digest: "{digest}"}}
        may-not:
          runs-on: ubuntu-latest
          steps:
            - uses: {attest}
              with: {{subject-name: {name}, subject-digest: "{digest}"}}
        """
    )

    (run,) = push({"ci": text})

    assert {entry.result for entry in run.jobs.values()} == {"failure"}
    assert "No credentials found for registry ghcr.io" in run.jobs["job"].log
    assert "must have no tag" in run.jobs["job"].log
    assert "Failed to persist attestation" in run.jobs["may-not"].log
    assert [entry["subject-digest"] for entry in run.attestations] == [digest]
    assert list(repository.attestations) == [digest]


def test_each_file_that_a_pattern_names_is_attested(push: Push, repository: Repository) -> None:
    """As `deploy` signs the entries of the ledger that it appended."""
    text = workflow(
        f"""
        job:
          runs-on: ubuntu-latest
          permissions: {{attestations: write, id-token: write}}
          environment: {{name: release, deployment: false}}
          steps:
            - run: mkdir entries && echo one > entries/a.json && echo two > entries/b.json
            - uses: {pinned("actions/attest")}
              with: {{subject-path: entries/*.json}}
            - uses: {pinned("actions/attest")}
              with: {{subject-path: nothing/*.json}}
        """
    )

    (run,) = push({"ci": text})

    assert "Could not find subject at path nothing/*.json" in run.jobs["job"].log
    (entry,) = run.attestations
    digests = [f"sha256:{hashlib.sha256(word).hexdigest()}" for word in (b"one\n", b"two\n")]
    assert entry["subjects"] == list(repository.attestations) == digests


def test_the_environment_is_a_runners(
    push: Push, actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_SETTING", "leaks")
    actions.variables["PLACE"] = "here"
    uv = pinned("astral-sh/setup-uv")
    text = job(
        f"""
        - run: |
            test -z "$SOMEBODYS_SETTING$FROM_DOTENV$VIRTUAL_ENV"
            git config user.name && exit 1
            command -v ruff && exit 1
            test "$PLACE" = here && test "$NO_COLOR" = 1
            false | true # no pipefail where no shell is named
          env: {{PLACE: "${{{{ vars.PLACE }}}}"}}
        - uses: {uv}
        - run: uv --version
        - run: if command -v ruff; then exit 1; fi
        - run: "! (false | true)"
          shell: bash
        """
    )

    (run,) = push({"ci": text}, **{".env": "FROM_DOTENV=1", ".actrc": "--dryrun"})

    assert run.conclusion == "success", run.log


def is_alive(note: Path) -> bool:
    """Does the process whose number was noted still do anything?"""
    status = Path(f"/proc/{note.read_text().strip()}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_nothing_listens_and_nothing_stays_behind(push: Push, tmp_path: Path) -> None:
    """While a job runs, act has no open port; what a step leaves running ends with the run."""
    note = tmp_path / "left"
    text = job(
        f"""
        - run: |
            setsid --fork bash -c 'echo $$ > {note}; exec sleep 300'
            grep -a --quiet -- --no-cache-server /proc/$PPID/cmdline
            opened="$(ls -l /proc/$PPID/fd | sed -n 's/.*socket:.\\([0-9]*\\).*/\\1/p')"
            for number in $opened; do
              grep -E " 0A [^ ]+ [^ ]+ [^ ]+ +[0-9]+ +[0-9]+ $number " /proc/net/tcp* && exit 1
            done
            while ! [ -s {note} ]; do sleep 0.05; done
        """
    )

    (run,) = push({"ci": text})

    assert run.conclusion == "success", run.log
    assert not is_alive(note)


def test_a_service_may_stay_until_the_runner_ends(
    github: GitHub, repository: Repository, tmp_path: Path
) -> None:
    note = tmp_path / "service"
    text = job(
        f"""
        - run: |
            setsid --fork bash -c 'echo $$ > {note}; exec sleep 300'
            while ! [ -s {note} ]; do sleep 0.05; done
          env: {{RUNNER_TRACKING_ID: ""}}
        """
    )
    github.commit(repository, {".github/workflows/ci.yml": text})

    with Actions(github, repository, tmp_path / "runs") as actions:
        (run,) = actions.run_until_quiet()
        stayed = is_alive(note)

    assert run.conclusion == "success", run.log
    assert stayed
    assert not is_alive(note)


def test_a_run_that_takes_too_long_is_ended_with_all_its_children(
    push: Push, actions: Actions, github: GitHub, repository: Repository, tmp_path: Path
) -> None:
    actions.seconds = 1.5
    note = tmp_path / "number"
    text = workflow(
        f"""
        first:
          runs-on: ubuntu-latest
          steps: [{{run: "true"}}]
        hangs:
          needs: first
          runs-on: ubuntu-latest
          steps:
            - run: |
                trap '' TERM INT HUP
                echo $$ > {note}
                while true; do sleep 1; done
        never:
          needs: hangs
          runs-on: ubuntu-latest
          steps: [{{run: "true"}}]
        """
    )
    start = time.monotonic()

    (run,) = push({"ci": text})

    assert time.monotonic() - start < 10
    assert run.conclusion == "cancelled"
    assert [entry.result for entry in run.jobs.values()] == ["success", "cancelled", "cancelled"]
    assert not is_alive(note)
    assert reported(github, repository)[0].conclusion == "cancelled"


REFUSED = {
    "no stand-in": job(f"- uses: acme/unknown@{'1' * 40}"),
    "not pinned by a full commit SHA": job("- uses: actions/checkout@v7"),
    "there is no action.yml": job("- uses: ./.github/actions/missing"),
    "take the token as an input": job("- uses: ./.github/actions/greedy"),
    "pass token to": job("- uses: ./.github/actions/careless"),
    "knows no input fetch_depth": job(f"- {{uses: {CHECKOUT}, with: {{fetch_depth: 0}}}}"),
    "needs path": job(f"- {{uses: {UPLOAD}, with: {{name: x}}}}"),
    "act does not know github.actor_id": job('- run: echo "${{ github.actor_id }}"'),
    "act ignores container": job("- run: ls", "container: debian"),
    "knows no permission content": job("- run: ls", "permissions: {content: read}"),
    "asks for contents: write, its caller has only read": workflow(
        "call: {uses: ./.github/workflows/_writes.yml, permissions: {contents: read}}"
    ),
    "give the token to the jobs": workflow(
        "job: {runs-on: x, steps: []}", more='env: {T: "${{ github.token }}"}'
    ),
    "only this repository's workflows": workflow(
        f"call: {{uses: acme/x/.github/workflows/a.yml@{'1' * 40}}}"
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_run_faithfully_is_refused_with_its_reason(
    reason: str, push: Push, github: GitHub, repository: Repository
) -> None:
    writes = "job: {runs-on: x, permissions: {contents: write}, steps: [{run: ls}]}"
    composite = "name: x\nruns: {using: composite, steps: [%s]}"
    files = {
        ".github__actions__greedy__action.yml": composite
        % 'run: "echo ${{ github.token }}", shell: bash',
        ".github__actions__careless__action.yml": composite % f"uses: {CHECKOUT}",
    }

    with pytest.raises(WorkflowError, match=reason) as refusal:
        push(
            {"ci": REFUSED[reason], "_writes": workflow(writes, "workflow_call", "writes")}, **files
        )

    assert ".github/workflows/" in str(refusal.value)
    assert reported(github, repository)[-1].conclusion == "failure"


def test_events_that_runs_cause_are_delivered_until_there_is_none(
    push: Push, github: GitHub, repository: Repository
) -> None:
    first = """
    job:
      runs-on: ubuntu-latest
      permissions: {actions: write}
      steps:
        - env:
            TOKEN: ${{ github.token }}
            SECOND: actions/workflows/second.yml/dispatches
          run: |
            curl --silent --show-error --fail --header "Authorization: Bearer $TOKEN" \\
              --json '{"ref": "main", "inputs": {"to": "staging"}}' \\
              "$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/$SECOND"
    """
    inputs = "to: {required: true, type: string}, dry: {type: boolean, default: true}"
    on = f"{{workflow_dispatch: {{inputs: {{{inputs}}}}}}}"
    second = """
    job:
      runs-on: ubuntu-latest
      outputs:
        to: ${{ inputs.to }}
        dry: ${{ inputs.dry && 'yes' }}
        actor: ${{ github.actor }}
      steps: [{run: exit 0}]
    """

    first_run, second_run = push(
        {"first": workflow(first), "second": workflow(second, on, "second")}
    )

    assert first_run.conclusion == "success", first_run.log
    assert second_run.event.name == "workflow_dispatch"
    assert second_run.jobs["job"].outputs == {
        "to": "staging",
        "dry": "yes",
        "actor": "github-actions[bot]",
    }
    assert [run.jobs for run in reported(github, repository)] == [{"job": "success"}, {}]


def test_a_loop_is_an_error(
    github: GitHub, repository: Repository, actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []

    def run(started: object) -> Run:
        ran.append(started)
        github.commit(repository, {"counter": str(time.monotonic_ns())})
        return Run("loop.yml", github.events[-1], conclusion="success")

    monkeypatch.setattr(actions, "_run", run)
    github.commit(repository, {".github/workflows/loop.yml": job("- run: ls")})

    with pytest.raises(RuntimeError, match="not quiet after 5 runs"):
        actions.run_until_quiet(limit=5)
    assert len(ran) == 5


@pytest.mark.parametrize(("cancels", "expected"), [(False, "0,-,2"), (True, "-,-,2")])
def test_only_the_newest_run_of_a_group_waits(
    cancels: bool,
    expected: str,
    github: GitHub,
    repository: Repository,
    actions: Actions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three pushes at once; `-` is a run that had to give way."""
    ran: list[str] = []
    group = "group: 'ci-${{ github.ref }}'"
    more = f"concurrency: {{{group}, cancel-in-progress: {str(cancels).lower()}}}"
    text = workflow("job: {runs-on: x, steps: []}", more=more)

    def run(started: object) -> Run:
        event = started.event  # type: ignore[attr-defined]
        ran.append(repository.git("show", f"{event.sha}:number"))
        return Run("ci.yml", event, conclusion="success")

    monkeypatch.setattr(actions, "_run", run)
    for number in range(3):
        github.commit(repository, {".github/workflows/ci.yml": text, "number": str(number)})
    github.commit(repository, {"number": "other"}, branch="other")

    runs = actions.run_until_quiet()

    assert [one.conclusion for one in runs].count("cancelled") == expected.count("-")
    assert sorted(ran) == sorted([*expected.replace("-", "").replace(",", ""), "other"])


def test_a_schedule_runs_on_the_default_branch(
    github: GitHub, repository: Repository, actions: Actions
) -> None:
    text = workflow(
        """
        job:
          runs-on: ubuntu-latest
          outputs: {at: "${{ github.ref }} ${{ github.event.schedule }}"}
          steps: [{run: "true"}]
        """,
        on='{schedule: [{cron: "5 4 * * *"}]}',
    )
    github.commit(repository, {".github/workflows/monitor.yml": text})

    (run,) = actions.deliver(actions.schedule("5 4 * * *"))

    assert run.jobs["job"].outputs == {"at": "refs/heads/main 5 4 * * *"}
    assert actions.deliver(actions.schedule("6 4 * * *")) == []
    assert worst(run.jobs.values()) == "success"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("ci", "ci"),
        ("ci-${{ github.event.pull_request.number || github.ref }}", "ci-refs/heads/main"),
        ("${{ github.workflow }}-${{ inputs.to }}", "ci-staging"),
        ("${{ github.event.number }}", 7),
        ("${{ github.event.number }}.", "7."),
        ("${{ inputs.missing || 'none' }}", "none"),
        ("${{ github.event_name == 'push' }}", True),
        ("${{ github.event_name != 'push' }}", False),
        ("x${{ github.event_name == 'push' }}", "xtrue"),
        ("${{ vars.MISSING }}-", "-"),
    ],
)
def test_simple_expressions(template: str, value: object) -> None:
    github = {"workflow": "ci", "ref": "refs/heads/main", "event_name": "push"}
    contexts = {"github": github | {"event": {"number": 7}}, "inputs": {"to": "staging"}}

    assert evaluate(template, contexts) == value


def test_an_expression_that_is_not_simple_is_refused() -> None:
    with pytest.raises(ValueError, match="too much for this stand-in"):
        evaluate("${{ format('{0}', github.ref) }}", {})
