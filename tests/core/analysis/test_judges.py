"""Two people's marks side by side."""

from streamscope.core.analysis.judges import Difference, compare_judges


def test_channels_that_both_marked_are_counted_and_those_of_one_alone_apart() -> None:
    first = {("2.1", 0): "keep", ("2.1", 1): "keep", ("2.1", 2): "reject", ("2.1", 3): "unsure", ("2.1", 9): ""}
    second = {("2.1", 0): "keep", ("2.1", 1): "unsure", ("2.1", 2): "reject", ("2.1", 4): "keep", ("2.1", 9): "keep"}
    found = compare_judges(first, second)
    # In the order keep, unsure, reject.
    assert found.table == ((1, 1, 0), (0, 0, 0), (0, 0, 1))
    assert (found.first_only, found.second_only) == (1, 2)
    # 2 of 3 agree; by chance (2 * 1 + 0 * 1 + 1 * 1) / 9 = 1/3.
    assert (found.agreement.n, round(found.agreement.kappa, 12)) == (3, 0.5)
    assert found.differences == (Difference("2.1", 1, "keep", "unsure"),)


def test_keep_against_reject_comes_first_and_then_the_order_of_the_stream() -> None:
    first = {("3.10", 0): "keep", ("3.9", 7): "unsure", ("2.0", 1): "keep", ("3.9", 2): "reject"}
    second = {("3.10", 0): "reject", ("3.9", 7): "keep", ("2.0", 1): "unsure", ("3.9", 2): "keep"}
    found = [(one.block, one.channel) for one in compare_judges(first, second).differences]
    assert found == [("3.9", 2), ("3.10", 0), ("2.0", 1), ("3.9", 7)]
