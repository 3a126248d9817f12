"""Patterns of keys: what they match, and which of them matches everything that another one does."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker.delivery.key_pattern import KeyPattern

SEGMENTS = st.sampled_from(["a", "b", "*", "a*", "*b", "?", "?*"])
PATTERNS = st.lists(st.one_of(SEGMENTS, st.just("**")), min_size=1, max_size=4).map("/".join).map(KeyPattern)
KEYS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (
            "uploads/*/avatars/**",
            ["uploads/al/avatars/me.jpg", "uploads/al/avatars/b/me.jpg"],
            ["uploads/al/me.jpg"],
        ),
        (
            "uploads/**",
            ["uploads/al/me.jpg", "uploads/al/.hidden.jpg"],
            ["Uploads/al/me.jpg", "logos/me.png"],
        ),
        (
            "uploads/*/*.{gif,webp}",
            ["uploads/al/a.gif", "uploads/al/a.webp"],
            ["uploads/al/a.png", "uploads/al/b/a.gif"],
        ),
        (
            "uploads/*/scan-[0-9].tif",
            ["uploads/al/scan-3.tif"],
            ["uploads/al/scan-x.tif", "uploads/al/scan-33.tif"],
        ),
        ("uploads/**/raw/*", ["uploads/raw/a", "uploads/al/b/raw/a"], ["uploads/al/raw/b/a"]),
        ("uploads/al/a?.jpg", ["uploads/al/ab.jpg", "uploads/al/aé.jpg"], ["uploads/al/a.jpg"]),
    ],
)
def test_a_pattern_matches_whole_keys(pattern: str, matching: list[str], others: list[str]) -> None:
    assert all(map(KeyPattern(pattern).matches, matching))
    assert not any(map(KeyPattern(pattern).matches, others))


@pytest.mark.parametrize(
    ("pattern", "other", "is_covered"),
    [
        ("uploads/**", "uploads/*/avatars/**", True),
        ("uploads/*/*.jpg", "uploads/*/me.jpg", True),
        ("uploads/*/me.jpg", "uploads/*/*.jpg", False),
        ("uploads/a?*", "uploads/a*", False),
        ("uploads/*/**", "uploads/**", False),
        ("uploads/*/*.{gif,png}", "uploads/*/*.{gif,png}", True),
        ("uploads/*/*.gif", "uploads/*/*.{gif,png}", False),
    ],
)
def test_it_is_known_whether_a_pattern_matches_all_that_another_does(
    pattern: str, other: str, is_covered: bool
) -> None:
    assert KeyPattern(pattern).covers(KeyPattern(other)) is is_covered


@given(PATTERNS, PATTERNS, KEYS)
def test_a_pattern_that_covers_another_matches_each_of_its_keys(
    pattern: KeyPattern, other: KeyPattern, key: str
) -> None:
    assume(other.matches(key) and pattern.covers(other))
    assert pattern.matches(key)


@given(PATTERNS)
def test_the_examples_of_a_pattern_match_it(pattern: KeyPattern) -> None:
    assert all(map(pattern.matches, pattern.examples()))


@pytest.mark.parametrize("pattern", ["**/*a*/**/*b", "uploads/**/a*a*a*a*b", "**/a/*b"])
def test_no_key_takes_long(pattern: str) -> None:
    for key in ("a/" * 500, "ab/" * 330 + "x", "uploads/" + "a" * 1000):
        assert not KeyPattern(pattern).matches(key + "c")
