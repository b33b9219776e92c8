"""Token buckets, with the clock in the test's hand."""

import math
import random

import pytest

from proactor_echo.net.rates import FULL, Rate, TokenBucket, as_rate


def test_a_new_bucket_has_the_whole_burst() -> None:
    bucket = TokenBucket(Rate(10, burst=3))
    assert [bucket.take(5.0) for _ in range(4)] == [True, True, True, False]


def test_the_burst_is_one_second_and_at_least_one() -> None:
    assert Rate(20).most == 20
    assert Rate(0.1).most == 1


def test_tokens_come_back_with_time() -> None:
    bucket = TokenBucket(Rate(10, burst=1))
    assert bucket.take(0.0)
    assert not bucket.take(0.09)
    assert bucket.take(0.1)


def test_after_the_wait_the_token_is_there() -> None:
    rng = random.Random(11)
    for _ in range(2000):
        rate = Rate(10 ** rng.uniform(-2, 5), burst=rng.uniform(1, 50))
        now, full_at = rng.uniform(0, 1e6), FULL
        while (after := rate.take(full_at, now)) is not None:
            full_at = after
        wait = rate.wait(full_at, now)
        assert 0 < wait <= 1 / rate.per_second * 1.001
        assert rate.take(full_at, now + wait) is not None


@pytest.mark.parametrize("seed", range(5))
def test_a_bucket_does_what_a_model_that_counts_tokens_does(seed: int) -> None:
    rng = random.Random(seed)
    rate = Rate(8, burst=4)  # with times that are multiples of 1/64 all arithmetic is exact
    bucket, tokens, now = TokenBucket(rate), 4.0, 0.0
    for _ in range(2000):
        passed, wanted = rng.choice([0, 0, 1, 4, 8, 64]) / 64, rng.choice([1, 1, 1, 2, 4])
        now += passed
        tokens = min(4.0, tokens + passed * 8)
        assert bucket.wait(now, wanted) == max(0.0, (wanted - tokens) / 8)
        taken = bucket.take(now, wanted)
        assert taken == (tokens >= wanted)
        tokens -= wanted if taken else 0


def test_more_tokens_than_the_burst_never_come() -> None:
    bucket = TokenBucket(Rate(10, burst=3))
    assert bucket.wait(0.0, 4) == math.inf
    assert not bucket.take(0.0, 4)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e300])
def test_a_number_that_is_no_rate_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="per_second must be from"):
        Rate(value)


@pytest.mark.parametrize("value", [True, "100", b"1"])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="per_second must be a number"):
        Rate(value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="accept_rate must be a Rate, a number"):
        as_rate("accept_rate", value)


@pytest.mark.parametrize("burst", [0.5, math.nan, math.inf, -3])
def test_a_burst_that_lets_nothing_through_is_refused(burst: float) -> None:
    with pytest.raises(ValueError, match="burst must be from"):
        Rate(1, burst)


def test_a_number_is_taken_for_a_rate() -> None:
    assert as_rate("rate", 5) == Rate(5)
    assert as_rate("rate", None) is None
