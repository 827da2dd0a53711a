import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.config import units


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("20GiB", 20 * 2**30), ("1.5 GB", 1_500_000_000), ("512", 512), (7, 7), ("0B", 0), ("2 tib", 2 * 2**40)],
)
def test_sizes(text: object, nbytes: int) -> None:
    assert units.parse_size(text) == nbytes


@pytest.mark.parametrize(
    ("text", "hint"),
    [("20G", '"20GiB"'), ("twenty", "for example"), ("1.5", '"1.5GiB"'), (True, "not a size"), (-1, "negative")],
)
def test_bad_sizes_say_what_to_write(text: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("5s", 5), ("1m30s", 90), ("1h 2m", 3720), (0, 0), ("1.5h", 5400)]
)
def test_durations(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "hint"), [(5, 'write "5s"'), ("5", "for example"), ("5s5", "for example"), ("", "for"), (False, "not a")]
)
def test_bad_durations_say_what_to_write(text: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        units.parse_duration(text)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_formatted_size_reads_back_within_its_precision(nbytes: int) -> None:
    again = units.parse_size(units.format_size(nbytes))
    assert abs(again - nbytes) <= max(nbytes * 0.05, 0)
