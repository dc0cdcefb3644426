"""The life of a generated repository on GitHub: its workflows executed by act, against the strict
stand-in, a real registry and a real Docker engine. The tests are one story, told in order.

Assertions are on what came out: commits and branches, pull requests, statuses, issues, deployments,
digests in the registry, the model that answers. Not on what a log says.
"""

import re
import shutil
from collections.abc import Iterator

import httpx
import pytest
import yaml

from ..conftest import BakedProject, Engines
from .life import NAME, SIMPLE, WORSE, Life, by_workflow, compiled_cache, times
from .standin import GitHub

pytestmark = pytest.mark.slow
DAILY, SIX_HOURLY, WEEKLY = "29 5 * * *", "43 */6 * * *", "17 3 * * 1"
TUESDAYS = "11 4 * * 2"  # template-update; this repository is not linked with its template


@pytest.fixture(scope="module")
def life(
    engines: Engines, installed: BakedProject, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    """A baked repository, not pushed yet. Its models soak for no time, its ports are any."""
    root = tmp_path_factory.mktemp("life")
    shutil.copytree(installed.path, root / "project")
    project = BakedProject(root / "project")
    policy = yaml.safe_load(project.read("policy.yaml"))
    policy["environments"]["production"] |= {"soak_hours": 0, "port": 0}
    policy["environments"]["staging"]["port"] = 0
    (project.path / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    (project.path / "Makefile").write_text(project.read("Makefile").replace(" --cov", ""))
    with GitHub(root / "github", registry=engines.registry) as github:
        variables = {"BASE_IMAGE": engines.base_image, "DEPLOY_RUNNER": "ubuntu-latest"}
        cache = {"UV_CACHE_DIR": str(compiled_cache(root))}
        told = Life(github, project.path, root, variables, engines.environment() | cache)
        try:
            yield told
        finally:
            told.end()
            print(times(told.runs))
            shutil.rmtree(root / "runs", ignore_errors=True)


def test_the_first_push_is_green_and_proposes_a_model(life: Life) -> None:
    life.set_up()
    runs = by_workflow(life.push({**life.files, **life.params(SIMPLE)}, "Start"))
    assert {name: run.conclusion for name, run in runs.items()} == {
        "ci": "success", "train": "success", "promote": "success"
    }, "\n".join(run.log for run in runs.values())  # fmt: skip
    (pull,) = life.pulls("promote/staging/")
    assert pull["body"].startswith("## ✅ Approve to run")
    assert "This is the first model here" in pull["body"]
    assert "UNATTESTED" in pull["body"]
    assert life.ledger("staging") == []  # it was verified, and not released
    assert life.statuses(pull["head"]["sha"]) == {"gate": "success"}


def test_the_record_names_artefacts_that_are_in_the_registry(life: Life) -> None:
    (pull,) = life.pulls("promote/staging/")
    record = yaml.safe_load(life.show("deploy/staging/model.yaml", pull["head"]["sha"]) or b"")
    tags = httpx.get(f"http://{life.github.registry}/v2/{NAME}/tags/list", headers=_read(life))
    digest = record["model"].removeprefix("sha256:")
    found = set(tags.json()["tags"])
    assert {f"candidate-{digest}", f"dir-{digest}"} <= found
    assert any(tag.startswith(f"image-{digest[:12]}-") for tag in found)
    image = record["image"].rpartition("@")[2]
    answer = httpx.head(
        f"http://{life.github.registry}/v2/{NAME}/manifests/{image}",
        headers=_read(life) | {"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
    )
    assert answer.status_code == 200
    assert answer.headers["docker-content-digest"] == image


def _read(life: Life) -> dict[str, str]:
    token = life.github.job_token(life.repository, {"packages": "read"}, "test")
    return {"Authorization": f"Bearer {token}"}


def test_a_promotion_waits_for_a_person(life: Life) -> None:
    (pull,) = life.pulls("promote/staging/")
    assert life.merge(pull["number"]).status_code == 405
    assert life.running("staging") is None


def test_merging_runs_it_in_staging_and_offers_it_to_production(life: Life) -> None:
    (pull,) = life.pulls("promote/staging/")
    runs = by_workflow(life.accept(pull["number"]))
    assert {name: run.conclusion for name, run in runs.items()} == {
        "ci": "success", "deploy": "success", "promote": "success"
    }, "\n".join(run.log for run in runs.values())  # fmt: skip
    assert {name: job.result for name, job in runs["deploy"].jobs.items()} == dict.fromkeys(
        ["verify", "release", "deploy (staging)", "deploy (production)", "record"], "success"
    )
    record = life.record("staging")
    assert record
    assert life.running("staging") == record["model"]
    assert life.deployments("staging") == ["success"]
    entry, outcome = life.ledger("staging")
    assert (entry["kind"], entry["change"], entry["model"]) == ("entry", "promote", record["model"])
    assert (entry["main"], entry["approved_by"]) == (life.repository.branch("main"), ["ann"])
    assert (outcome["entry"], outcome["outcome"]) == (entry["commit"], "live")
    assert life.released("staging") == life.git("rev-parse", "main:deploy/staging").strip()
    assert life.ledger("production") == []
    (offered,) = life.pulls("promote/production/")
    assert offered["head"]["ref"].endswith(record["model"][7:19])


def test_production_runs_the_same_bytes(life: Life) -> None:
    (pull,) = life.pulls("promote/production/")
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].conclusion == "success", runs["deploy"].log
    record, before = life.record("production"), life.record("staging")
    assert record
    assert before
    assert life.running("production") == record["model"] == before["model"]
    assert record["image"] == before["image"]
    (entry,) = life.entries("production")
    assert (entry["model"], entry["outcome"], entry["replaces"]) == (record["model"], "live", None)
    life.first = (life.show("deploy/production/model.yaml") or b"").decode()


def test_a_change_of_documents_trains_nothing_and_proposes_nothing(life: Life) -> None:
    pulls = life.api.get("/pulls", params={"state": "all", "per_page": 100}).json()
    runs = by_workflow(life.push({"docs/note.md": "A note.\n"}))
    assert set(runs) == {"ci", "train"}
    assert {run.conclusion for run in runs.values()} == {"success"}
    assert "inputs unchanged" in runs["train"].summary
    assert runs["train"].jobs["package"].result == "skipped"
    assert life.api.get("/pulls", params={"state": "all", "per_page": 100}).json() == pulls


def test_training_by_force_gives_the_same_model_and_proposes_nothing(life: Life) -> None:
    runs = by_workflow(life.dispatch("train.yml", force="true", issue="1"))
    assert {run.conclusion for run in runs.values()} == {"success"}, runs["promote"].log
    assert runs["train"].jobs["train"].outputs["trained"] == "true"
    assert runs["promote"].jobs["propose"].result == "skipped"
    assert life.pulls("promote/") == []


def test_every_schedule_finds_nothing_to_do(life: Life) -> None:
    before = (life.running("staging"), life.running("production"), life.heads())
    runs = [run for cron in (SIX_HOURLY, WEEKLY, DAILY, TUESDAYS) for run in life.tick(cron)]
    assert {run.conclusion for run in runs} <= {"success", "skipped"}
    assert (life.running("staging"), life.running("production"), life.heads()) == before
    assert life.deployments("production") == ["success"]


def test_a_worse_model_cannot_be_merged(life: Life) -> None:
    pull, runs = life.propose(life.params(WORSE), "worse")
    ci = by_workflow(runs)["ci"]
    assert {name: job.result for name, job in ci.jobs.items() if job.result != "success"} == {
        "model": "failure", "gate": "failure"
    }, ci.log  # fmt: skip
    (comment,) = life.comments(pull["number"])
    assert "🛑 Do not promote" in comment["body"]
    life.approve(pull["number"])
    assert life.merge(pull["number"]).status_code == 405
    life.close(pull["number"])


def test_a_better_model_is_compared_with_what_runs(life: Life) -> None:
    params = {"params.yaml": life.files["params.yaml"]}
    pull, started = life.propose(params, "better")
    ci = by_workflow(started)["ci"]
    assert ci.conclusion == "success", ci.log
    (comment,) = life.comments(pull["number"])
    assert "✅ Ready to promote" in comment["body"]
    assert "→" in comment["body"]
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["promote"].conclusion == "success", runs["promote"].log
    (opened,) = life.pulls("promote/staging/")
    assert "What got worse" in opened["body"]


def test_what_was_tampered_with_is_red_and_not_deployed(life: Life) -> None:
    """A second file, edited figures, a tag for a digest: each pushed to the promotion's branch."""
    (pull,) = life.pulls("promote/staging/")
    branch, head = pull["head"]["ref"], pull["head"]["sha"]
    record = (life.show("deploy/staging/model.yaml", head) or b"").decode()
    figures = (life.show("deploy/staging/evaluation.json", head) or b"").decode()
    mended: dict[str, str | bytes | None] = {}
    for name, content, words in (
        ("docs/second.md", "A second file.\n", "one folder"),
        ("deploy/staging/evaluation.json", figures.replace("0.99", "0.999"), "evaluation"),
        ("deploy/staging/model.yaml", re.sub(r"(?m)^model: .*", "model: latest", record), "record"),
    ):
        life.github.commit(life.repository, {**mended, name: content}, branch=branch, by=life.ben)
        mended = {name: life.show(name, head)}
        ci = by_workflow(life.wait())["ci"]
        assert ci.jobs["records"].result == "failure", ci.log
        assert f"FAILED {words}" in ci.jobs["records"].summary
        assert ci.jobs["gate"].result == "failure"
        life.approve(pull["number"])
        assert life.merge(pull["number"]).status_code == 405
    assert len(life.entries("staging")) == 1


def test_closing_is_a_decision_that_only_a_reason_overrules(life: Life) -> None:
    (pull,) = life.pulls("promote/staging/")
    model = pull["head"]["ref"].removeprefix("promote/staging/")  # its record was tampered with
    life.close(pull["number"])
    runs = by_workflow(life.dispatch("promote.yml", environment="staging", model=model))
    assert runs["promote"].jobs["verify"].result == "failure"
    assert life.pulls("promote/staging/") == []
    runs = by_workflow(
        life.dispatch("promote.yml", environment="staging", model=model, reason="we looked again")
    )
    assert runs["promote"].conclusion == "success", runs["promote"].log
    (opened,) = life.pulls("promote/staging/")
    assert "we looked again" in opened["body"]


def test_the_better_model_reaches_production(life: Life) -> None:
    """Staging and production, each after its own approval; its predecessor is held from now on."""
    before = life.record("production")
    assert before
    (pull,) = life.pulls("promote/staging/")
    life.accept(pull["number"])
    (pull,) = life.pulls("promote/production/")
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].conclusion == "success", runs["deploy"].log
    now = life.record("production")
    assert now
    assert now["model"] != before["model"]
    assert now["replaces"]["model"] == before["model"]
    assert life.running("production") == now["model"]
    first, second = life.entries("production")
    assert (second["change"], second["replaces"]) == ("promote", first["commit"])
    assert [entry["outcome"] for entry in life.entries("staging")] == ["live", "live"]


def test_a_rollback_by_dispatch_needs_a_merge_and_nothing_else(life: Life) -> None:
    now = life.record("production")
    assert now
    runs = by_workflow(
        life.dispatch(
            "promote.yml", environment="production", intent="rollback", reason="complaints"
        )
    )
    assert runs["promote"].conclusion == "success", runs["promote"].log
    (pull,) = life.pulls("rollback/production/")
    assert "complaints" in pull["body"]
    life.accept(pull["number"])
    back = life.record("production")
    assert back
    assert back["model"] == now["replaces"]["model"] == life.running("production")
    first, second, third = life.entries("production")
    assert (third["change"], third["restores"]) == ("rollback", first["commit"])
    assert (third["replaces"], third["outcome"]) == (second["commit"], "live")
    assert life.released("production", third["commit"]) == life.released(
        "production", first["commit"]
    )


def test_what_was_rolled_back_is_held(life: Life) -> None:
    """Staging still runs it, and every schedule leaves it alone."""
    life.tick(SIX_HOURLY)
    assert life.pulls("promote/production/") == []
    runs = by_workflow(life.dispatch("promote.yml", environment="production"))
    assert runs["promote"].jobs["verify"].result == "failure"
    assert life.pulls("promote/production/") == []


def test_a_revert_of_a_rollback_is_refused(life: Life) -> None:
    """*Revert* on the rollback: a held model comes back with a reason, or not at all."""
    files = life.folder("production", "main^1")
    pull, runs = life.propose(files, "revert-the-rollback")
    ci = by_workflow(runs)["ci"]
    assert ci.jobs["records"].result == "failure"
    assert "FAILED hold" in ci.jobs["records"].summary
    life.approve(pull["number"])
    assert life.merge(pull["number"]).status_code == 405
    life.close(pull["number"])


def test_a_held_model_comes_back_with_a_reason(life: Life) -> None:
    held = life.record("staging")
    assert held
    reason = "the complaints were about something else"
    runs = by_workflow(
        life.dispatch("promote.yml", by=life.api_of_ben, environment="production", reason=reason)
    )
    assert runs["promote"].conclusion == "success", runs["promote"].log
    (pull,) = life.pulls("promote/production/")
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].conclusion == "success", runs["deploy"].log
    assert life.running("production") == held["model"]
    assert life.entries("production")[-1]["reason"] == reason


def test_a_revert_made_by_hand_is_a_rollback_too(life: Life) -> None:
    """*Revert* on the promotion that runs."""
    files = life.folder("production", "main^1")
    pull, started = life.propose(files, "revert-the-promotion")
    ci = by_workflow(started)["ci"]
    assert ci.conclusion == "success", ci.log
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].conclusion == "success", runs["deploy"].log
    *_, third, fourth, fifth = life.entries("production")
    assert (fifth["change"], fifth["restores"]) == ("rollback", third["commit"])
    assert (fifth["replaces"], fifth["outcome"]) == (fourth["commit"], "live")
    assert life.running("production") == fifth["model"] == third["model"]


def test_a_push_around_the_pull_request_is_not_deployed(life: Life) -> None:
    """An administrator may push to main; the deployment asks who approved."""
    before = life.running("production")
    record = life.show("deploy/production/model.yaml")
    ledger = life.ledger("production")
    runs = by_workflow(
        life.push({"deploy/production/model.yaml": life.first + "# by hand\n"}, "By hand")
    )
    results = {name: job.result for name, job in runs["deploy"].jobs.items()}
    assert results == {
        "verify": "failure", "release": "skipped", "deploy (staging)": "success",
        "deploy (production)": "success", "record": "success",
    }  # fmt: skip
    assert life.running("production") == before
    assert life.ledger("production") == ledger
    assert life.deployments("production")[0] == "success"  # of what runs
    (issue,) = life.issues("deployment-production")
    assert "came to main without a pull request" in issue["body"]
    life.push({"deploy/production/model.yaml": record}, "Back")
    assert life.issues("deployment-production") == []


def test_a_model_that_answers_wrong_is_not_switched_to(life: Life) -> None:
    """It was verified and released, and answers wrong where it should run: the golden requests
    catch that, and the ledger says that it failed."""
    before = life.running("staging")
    life.push(life.params(None, seed=77))
    (pull,) = life.pulls("promote/staging/")
    with life.damaged_host():
        runs = by_workflow(life.accept(pull["number"]))
    results = {name: job.result for name, job in runs["deploy"].jobs.items()}
    assert results == {
        "verify": "success", "release": "success", "deploy (staging)": "failure",
        "deploy (production)": "success", "record": "success",
    }, runs["deploy"].log  # fmt: skip
    assert life.running("staging") == before, runs["deploy"].log
    model = (life.record("staging") or {})["model"]
    *_, entry = life.entries("staging")
    assert (entry["model"], entry["outcome"]) == (model, "failed")
    (issue,) = life.issues("deployment-staging")
    assert life.deployments("staging")[0] == "failure"
    (revert,) = life.pulls("rollback/staging/")
    assert revert["html_url"] in issue["body"]
    entries = life.entries("staging")
    life.accept(revert["number"])
    assert life.issues("deployment-staging") == []
    assert life.running("staging") == before
    assert life.entries("staging") == entries  # main names again what ran all the time


def test_a_fork_gets_a_summary_and_no_token_to_write(life: Life) -> None:
    life.github.user("eve", "none")
    fork = life.github.fork(NAME, "eve")
    life.github.commit(fork, {"docs/eve.md": "Hello.\n"}, branch="docs")
    pull = life.open("docs", head="eve:docs")
    ci = by_workflow(life.wait())["ci"]
    assert ci.conclusion == "success", ci.log
    assert ci.jobs["comment"].result == "skipped"
    assert "Ready to promote" in ci.jobs["model"].summary
    assert life.comments(pull["number"]) == []
    life.close(pull["number"])


def test_a_hotfix_by_dispatch_needs_a_reason(life: Life) -> None:
    runs = by_workflow(life.dispatch("promote.yml", environment="production", intent="hotfix"))
    assert runs["promote"].jobs["verify"].result == "failure"
    assert runs["promote"].jobs["propose"].result == "skipped"


def test_rules_that_nobody_approved_release_nothing(life: Life) -> None:
    """A weaker policy, pushed by somebody who may, and the model that needs it in the next change:
    two changes, and each must have been approved."""
    weaker = yaml.safe_load(life.files["policy.yaml"])
    weaker["environments"]["production"]["approvals"] = 0
    before, ledger = life.running("production"), life.ledger("production")
    text = life.show("policy.yaml")
    life.push({"policy.yaml": yaml.safe_dump(weaker, sort_keys=False)}, "Ask nobody")
    pushed = life.repository.branch("main") or ""
    reason = "we want it"
    life.dispatch("promote.yml", by=life.api_of_ben, environment="production", reason=reason)
    (pull,) = life.pulls("promote/production/")
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].jobs["verify"].result == "failure"
    assert runs["deploy"].jobs["release"].result == "skipped"
    assert (life.running("production"), life.ledger("production")) == (before, ledger)
    (issue,) = life.issues("deployment-production")
    assert "approval: " not in issue["body"]  # of the promotion itself: Ann approved that
    assert f"approved rules: {pushed[:7]} changed policy.yaml, and 1 must approve" in issue["body"]
    pull, _ = life.propose({"policy.yaml": text}, "ask-again")
    life.accept(pull["number"])
    life.dispatch("promote.yml", environment="production", intent="rollback", reason="undo it")
    (pull,) = life.pulls("rollback/production/")
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].conclusion == "success", runs["deploy"].log
    assert life.issues("deployment-production") == []
    assert life.ledger("production") == ledger  # main names again what runs


def test_what_approved_rules_allow_is_released(life: Life) -> None:
    """The push above stays in the history; what it changed was undone by an approved change."""
    model = (life.record("staging") or {})["model"]
    reason = "we want it, by our own rules"
    life.dispatch("promote.yml", by=life.api_of_ben, environment="production", reason=reason)
    (pull,) = life.pulls("promote/production/")
    runs = by_workflow(life.accept(pull["number"]))
    assert runs["deploy"].conclusion == "success", runs["deploy"].log
    *_, entry = life.entries("production")
    assert (entry["model"], entry["outcome"]) == (model, "live")
    assert life.running("production") == model


def test_drift_keeps_one_issue_and_trains_when_it_is_severe(life: Life) -> None:
    model = life.record("production")
    assert model
    log = life.state / "given.jsonl"
    life.actions.variables["PREDICTION_LOG"] = str(log)
    life.predictions(log, model["model"], moved=0)
    life.tick(DAILY)
    assert life.issues("drift-production") == []
    for run in life.github.runs:
        run.created_at = "2026-01-01T00:00:00Z"  # the training by force was long ago
    before = len(life.runs)
    life.predictions(log, model["model"], moved=3)
    runs = by_workflow([*life.tick(DAILY), *life.tick(DAILY)])
    (issue,) = life.issues("drift-production")
    assert "Drift:" in issue["body"]
    assert "train" in runs
    (trained,) = [r for r in life.runs[before:] if r.workflow.endswith("train.yml")]  # once
    assert trained.event.payload["inputs"]["issue"] == str(issue["number"])
    life.predictions(log, model["model"], moved=0)
    life.tick(DAILY)
    assert life.issues("drift-production") == []


def test_where_trust_is_attested_all_is_signed_and_nothing_unverified_passes(life: Life) -> None:
    """There is no `gh` here that could verify a signature, so the promotion is refused."""
    life.actions.variables["TRUST"] = "attested"
    runs = by_workflow(life.push(life.params(None, seed=78)))
    assert runs["train"].conclusion == "success", runs["train"].log
    signed = runs["train"].attestations
    assert len(signed) == 3  # provenance, the bill of materials, the evaluation
    assert len({entry["subject-digest"] for entry in signed}) == 1
    assert runs["promote"].jobs["verify"].result == "failure"
    assert life.pulls("promote/staging/") == []


def test_each_job_uses_every_permission_that_it_has(life: Life) -> None:
    """Over the whole story: what a job may and never did, it should not be allowed."""
    used: dict[str, set[tuple[str, str]]] = {}
    for call in life.github.calls:
        if call.permission and call.status < 400:
            used.setdefault(call.who, set()).add(call.permission)
    assert used
    spare = {
        f"{job.rpartition('/')[2]}: {name}: {level}"
        for job, granted in life.granted().items()
        for name, level in granted.items()
        if name != "metadata"
        and (name, level) not in used.get(job, set())
        and not (level == "read" and (name, "write") in used.get(job, set()))
    }
    assert spare <= UNSEEN, spare - UNSEEN


REWRITTEN = "pull-requests: read"  # which entries were merged, where main was rewritten
SIGNED = ("attestations: read", "packages: read")  # `gh` asks with it: see above
UNSEEN = {
    "_package.yml: package: id-token: write",  # Sigstore is asked with it, not GitHub
    *(f"ci.yml: {place}" for place in (f"model: {REWRITTEN}", f"records: {SIGNED[0]}")),
    f"train.yml: train: {REWRITTEN}",
    f"monitor.yml: drift: {REWRITTEN}",
    "monitor.yml: drift: packages: read",  # MODEL_STATE has a copy here, a fresh machine has none
    "deploy.yml: deploy: packages: read",
    f"deploy.yml: verify: {SIGNED[0]}",
    f"deploy.yml: deploy: {SIGNED[0]}",
    f"deploy.yml: release: {SIGNED[1]}",
    "deploy.yml: release: id-token: write",  # an entry is signed where TRUST is attested
    "deploy.yml: release: attestations: write",
    f"promote.yml: verify: {SIGNED[0]}",
    "template-update.yml: update: contents: write",  # needs a template that moved
    "template-update.yml: update: pull-requests: write",
    "template-update.yml: update: issues: write",
}


def test_github_was_asked_nothing_that_it_does_not_know(life: Life) -> None:
    assert life.github.unknown == []
