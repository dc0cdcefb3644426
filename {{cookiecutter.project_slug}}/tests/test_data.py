"""Yours: what holds of the rows, whatever model learns from them."""

from mlrelease.testing import Case


def test_every_row_is_valid(case: Case) -> None:
    assert len(case.rows) > 0  # else the first ten faults are named


def test_no_two_rows_have_the_same_key(case: Case) -> None:
    key = list(case.params.data.key) or list(case.rows.columns)
    assert not case.rows.duplicated(key).any()


def test_the_holdout_is_the_share_that_was_asked_for(case: Case) -> None:
    fit_rows, holdout = case.divided
    split = case.params.split
    if split.by == "row":
        share = len(holdout) / (len(holdout) + len(fit_rows))
        assert abs(share - (split.holdout or 0.2)) < 0.05
    assert len(holdout) >= 100, "few held-out rows make wide intervals"
