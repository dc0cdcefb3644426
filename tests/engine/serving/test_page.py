"""The page says what the model takes, and loads nothing from anywhere."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from mlrelease.scoring import artifact, features
from mlrelease.serving import page
from tests.engine.trained import Ask, Trained, send

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"


class Seen(HTMLParser):
    """Which elements and attributes there are, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_shows_every_column_and_its_categories(ask: Ask, trained: Trained) -> None:
    response = ask("GET", "/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    text = Seen(response.text).text
    for column in trained.card.signature.columns:
        assert column.name in text
        assert all(category in text for category in column.categories)
    assert trained.digest in text
    assert '"mean radius": 17.99' in text  # the first golden row
    assert "10,000 a request" in text


def test_nothing_is_loaded_and_nothing_else_may_run(ask: Ask) -> None:
    response = ask("GET", "/docs")
    seen = Seen(response.text)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(seen.tags)
    names = {name for name, _ in seen.attributes}
    assert not {"src", "href", "srcset", "action", "style"} & names
    assert not any(name.startswith("on") for name in names)
    assert "://" not in re.sub(r"http://HOST:PORT", "", response.text)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_names_from_the_data_are_text_and_nothing_else(trained: Trained, task: str) -> None:
    column = features.Column(HOSTILE, "category", categories=(HOSTILE,))
    classes = (HOSTILE, "no") if task == "classification" else ()
    signature = features.Signature(task, (column,), HOSTILE, classes)  # type: ignore[arg-type]
    card = artifact.ModelCard(signature, HOSTILE, {}, {}, {}, {}, 0, not_onnx=HOSTILE)
    golden = [{"row": {HOSTILE: HOSTILE}, "answer": {"value": 1.0}}]
    for given in (golden, []):
        seen = Seen(page.page(card, "sha256:a", HOSTILE, given, True))
        assert "img" not in seen.tags
        assert seen.tags.count("script") == 1


def test_a_page_of_a_service_with_a_token_asks_for_it(trained: Trained) -> None:
    service = trained.service(token="t")  # noqa: S106
    response = send(service, "GET", "/docs", headers={"authorization": "Bearer t"})
    assert 'type="password"' in response.text
    assert 'type="password"' not in send(trained.service(), "GET", "/docs").text
