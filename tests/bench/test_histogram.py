"""Times are known to a part in a thousand, however many, and histograms can be added."""

import random

import pytest

from proactor_echo.bench.histogram import LatencyHistogram

SHARES = (0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_those_of_the_sorted_values(seed: int) -> None:
    rng = random.Random(seed)
    values = sorted(int(10 ** rng.uniform(0, 13)) for _ in range(2000))
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    assert histogram.count == 2000
    for share in SHARES:
        exact = values[max(1, round(share * len(values))) - 1]
        assert exact <= histogram.percentile(share) <= exact * (1 + 1 / 1024) + 1, (seed, share)


def test_every_value_is_in_the_bucket_that_holds_it() -> None:
    for value in [*range(5000), *(1 << power for power in range(60)), *((1 << power) - 1 for power in range(1, 60))]:
        histogram = LatencyHistogram()
        histogram.record(value)
        ((low, high, count),) = histogram.buckets()
        assert low <= value <= high
        assert count == 1
        assert high - low <= value / 1024


def test_the_sum_of_two_is_the_histogram_of_all_their_values() -> None:
    one, other, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for number in range(1000):
        (one if number % 3 else other).record(number**3)
        both.record(number**3)
    one.add(other)
    assert one.counts == both.counts
    assert LatencyHistogram.of_row(both.as_row()).counts == both.counts


def test_an_empty_one_has_no_times() -> None:
    assert LatencyHistogram().percentile(0.99) == 0
    assert LatencyHistogram().count == 0
