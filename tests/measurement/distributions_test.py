import numpy as np
import pytest

from asem_jax.measurement.distributions import describe, normality


def test_numbers_are_described_without_those_that_are_missing():
    values = np.random.default_rng(0).normal(90, 8, 200)
    found = describe(np.concatenate([values, [np.nan]]))
    assert found["count"] == 200
    assert found["mean"] == pytest.approx(values.mean()) and found["std"] == pytest.approx(values.std(ddof=1))
    quantiles = [found[name] for name in ("min", "quartile_1", "median", "quartile_3", "max")]
    np.testing.assert_allclose(quantiles, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))


def test_two_humps_are_not_normal_and_one_is():
    rng = np.random.default_rng(1)
    one, two = rng.normal(90, 8, 150), np.concatenate([rng.normal(75, 3, 75), rng.normal(105, 3, 75)])
    assert all(test["p"] > 0.05 for test in normality(one).values())
    assert all(test["p"] < 1e-4 for test in normality(two).values())


def test_too_few_or_equal_numbers_are_not_tested():
    assert normality(np.arange(2.0)) == {"shapiro_wilk": None, "dagostino_pearson": None}
    assert normality(np.full(30, 4.0)) == {"shapiro_wilk": None, "dagostino_pearson": None}
    assert normality(np.arange(6000.0))["shapiro_wilk"] is None
    assert describe(np.array([np.nan])) == {"count": 0}
    assert describe(np.array([5.0]))["std"] is None
