"""Does a running service give the answers that were recorded when its model was trained?"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 1e-6  # of a probability; of values, as a part of the largest one that is recorded


def check(url: str, golden: list[dict[str, Any]], digest: str, timeout: float = 5.0) -> list[str]:
    """Ask for each `{"row": ..., "answer": ...}` of `golden.json` alone, then for all at once.

    Returns what is wrong, nothing for a pass. Stops at the first request that is not answered, or
    answered by another model than `digest`. `timeout` is in seconds, for each request.
    """
    import httpx

    if not golden:
        return ["there are no golden requests: nothing was checked"]
    faults: list[str] = []
    largest = largest_value(golden)
    # The proxies of the environment have no business between a deployment and its own service.
    with httpx.Client(
        base_url=url, timeout=timeout, trust_env=False, headers=authorization()
    ) as client:
        for number, batch in enumerate([*([item] for item in golden), golden]):
            alone = number < len(golden)
            name = f"golden row {number}" if alone else "all golden rows together"
            rows = [item["row"] for item in batch]
            try:
                response = client.post("/predict", json=rows[0] if alone else rows)
                answers = response.json() if response.status_code == 200 else None
            except (httpx.HTTPError, ValueError) as error:
                return [*faults, f"{name}: {url} gave no answer: {error or type(error).__name__}"]
            served = response.headers.get("model-digest")
            if served != digest:
                return [*faults, f"{name}: answered by model {served}, expected {digest}"]
            answers = [answers] if alone and answers else answers
            if not isinstance(answers, list) or len(answers) != len(batch):
                faults.append(f"{name}: {response.status_code} {response.text[:200]}")
                continue
            faults += [
                f"{name}: expected {item['answer']}, got {str(answer)[:200]}"
                for item, answer in zip(batch, answers, strict=True)
                if not equal(answer, item["answer"], largest)
            ]
    return faults


def authorization() -> dict[str, str]:
    """The header for a service that this machine's MODEL_TOKEN is for."""
    token = os.environ.get("MODEL_TOKEN")
    return {"authorization": f"Bearer {token}"} if token else {}


def largest_value(golden: Sequence[Mapping[str, Any]]) -> float:
    """The size of the largest value among the answers; 1 for probabilities. Float32 sums lose
    digits of what is summed, also where the sum is small."""
    return max((abs(item["answer"].get("value", 1.0)) for item in golden), default=1.0)


def equal(answer: Any, expected: Mapping[str, Any], largest: float = 1.0) -> bool:
    """Whether an answer is the recorded one, numbers but for a millionth of the `largest`."""
    if not isinstance(answer, dict) or answer.keys() != expected.keys():
        return False
    return all(
        abs(answer[key] - value) <= TOLERANCE * largest
        if type(value) in (int, float) and type(answer[key]) in (int, float)
        else answer[key] == value
        for key, value in expected.items()
    )
