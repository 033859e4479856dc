"""What is said of many numbers: their spread, and whether they look normal.

Tests: Shapiro and Wilk (3 to 5000 numbers) and D'Agostino and Pearson (20 and more), both from SciPy. A small p speaks
against a normal distribution; a large one says that there is no difference from one, or too few numbers to see it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

_SHAPIRO, _DAGOSTINO = (3, 5000), 20


def describe(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Returns count, mean, standard deviation, quantiles and normality tests, as JSON; NaN are left out.

    Example:
      >>> found = describe(np.array([1.0, 2.0, 3.0, np.nan]))
      >>> found["count"], found["mean"], found["std"], found["median"]
      (3, 2.0, 1.0, 2.0)
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if not known.size:
        return {"count": 0}
    low, first, median, third, high = np.percentile(known, (0, 25, 50, 75, 100)).tolist()
    return {
        "count": int(known.size),
        "mean": float(known.mean()),
        "std": float(known.std(ddof=1)) if known.size > 1 else None,
        "min": low,
        "quartile_1": first,
        "median": median,
        "quartile_3": third,
        "max": high,
        "normality": normality(known),
    }


def normality(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Returns statistic and p of both tests, as JSON; None where the numbers are too few, too many or equal.

    Example:
      >>> normality(np.arange(10.0))["dagostino_pearson"] is None
      True
    """
    tests: dict[str, Any] = {"shapiro_wilk": None, "dagostino_pearson": None}
    if values.size and np.ptp(values) > 0:
        if _SHAPIRO[0] <= values.size <= _SHAPIRO[1]:
            tests["shapiro_wilk"] = _as_json(stats.shapiro(values))
        if values.size >= _DAGOSTINO:
            tests["dagostino_pearson"] = _as_json(stats.normaltest(values))
    return tests


def _as_json(result: Any) -> dict[str, float]:
    return {"statistic": float(result.statistic), "p": float(result.pvalue)}
