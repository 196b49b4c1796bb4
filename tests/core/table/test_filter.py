"""What a filter expression selects, and what it says of a wrong one."""

import os
import sys
import threading

import numpy as np
import pytest

from streamscope.core.errors import FilterError, UsageError
from streamscope.core.table.filter import HELP, compile_filter
from tests.support.frames import small_frame

FRAME = small_frame(
    block=["2.1", "3.9", "3.10", "3.10", "2.1"],
    channel=[0, 1, 2, 3, 4],
    mix_ratio=[0.5, 1.0, 2.0, None, 5.0],
    out_on_in=[-1.0, 2.0, -3.0, 4.0, 0.0],
    scale_invariant=[1, 0, None, None, 1],
    robust=[1, 1, 0, None, None],
    update=["overwrite", "mix", "skip", "", "skip"],
    marked=["keep", "", "reject", "", ""],
    tags=["edge", "edges blue", "", "blue edge", ""],
    note=["a Curve, it's", "", "", 'say "hi"', "é curve"],
)


def select(expression: str) -> list[int]:
    mask = compile_filter(expression).mask(FRAME)
    assert mask.dtype == bool
    assert mask.shape == (len(FRAME),)
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        # comparisons and their chains
        ("mix_ratio > 1", [2, 4]),
        ("mix_ratio >= 1", [1, 2, 4]),
        ("mix_ratio < 1", [0]),
        ("mix_ratio <= 1", [0, 1]),
        ("mix_ratio == 1", [1]),
        ("1 < mix_ratio", [2, 4]),
        ("0.5 < mix_ratio <= 2", [1, 2]),
        ("0.5 < mix_ratio <= 2 < channel", []),
        ("0 < channel < mix_ratio < 6", [4]),
        ("channel == 1 == true", [1]),
        ("mix_ratio > channel", [0, 4]),
        ("1e0 < mix_ratio < 1_0", [2, 4]),
        # and, or, not: not binds tightest, then and, then or
        ("channel == 0 or channel == 1 and mix_ratio > 1", [0]),
        ("(channel == 0 or channel == 1) and mix_ratio >= 1", [1]),
        ("not channel == 0 and channel < 2", [1]),
        ("not (channel == 0 and channel < 2)", [1, 2, 3, 4]),
        ("not channel == 0 or channel == 0", [0, 1, 2, 3, 4]),
        ("not not channel == 0", [0]),
        # arithmetic: * / before + -, unary minus
        ("channel + 1 * 2 == 4", [2]),
        ("(channel + 1) * 2 == 4", [1]),
        ("channel - 1 - 1 == 1", [3]),
        ("channel / 2 == 1.5", [3]),
        ("-channel < -3", [4]),
        ("+channel == 4", [4]),
        ("abs(out_on_in) > 2", [2, 3]),
        ("abs(out_on_in - 1) == 1", [1, 4]),
        ("scale_invariant + robust == 2", [0]),
        ("channel / out_on_in > -100", [0, 1, 2, 3]),  # 4 / 0 is empty
        ("channel / 0 > 0 or channel / 0 <= 0", []),
        # true and false
        ("scale_invariant", [0, 4]),
        ("not scale_invariant", [1, 2, 3]),
        ("scale_invariant == true", [0, 4]),
        ("scale_invariant == True", [0, 4]),
        ("scale_invariant == false", [1]),
        ("scale_invariant != true", [1]),
        ("scale_invariant == robust", [0]),
        ("scale_invariant == 1", [0, 4]),
        ("(mix_ratio > 1) == scale_invariant", [1, 4]),
        ("true", [0, 1, 2, 3, 4]),
        ("false", []),
        ("1 < 2", [0, 1, 2, 3, 4]),
        # empty fields compare false, also unequal
        ("mix_ratio != 1", [0, 2, 4]),
        ("mix_ratio == mix_ratio", [0, 1, 2, 4]),
        ("mix_ratio != mix_ratio", []),
        ("not mix_ratio > 1", [0, 1, 3]),
        ("not mix_ratio != 1", [1, 3]),
        ("mix_ratio + 1 != 2", [0, 2, 4]),
        ("mix_ratio in [1, 2]", [1, 2]),
        ("mix_ratio not in [1, 2]", [0, 4]),
        ("rho < 1 or rho >= 1 or rho != 0 or rho not in []", []),
        ("missing(mix_ratio)", [3]),
        ("not missing(mix_ratio)", [0, 1, 2, 4]),
        ("missing(mix_ratio + 1)", [3]),
        ("missing(channel / 0)", [0, 1, 2, 3, 4]),
        ("missing(scale_invariant)", [2, 3]),
        ("missing(update)", [3]),
        ("missing(channel > 1)", []),
        ("missing(1) or missing('a')", []),
        ("missing('')", [0, 1, 2, 3, 4]),
        # text
        ('update == "skip"', [2, 4]),
        ("update == 'skip'", [2, 4]),
        ('"skip" == update', [2, 4]),
        ('update != "skip"', [0, 1, 3]),
        ('update == ""', [3]),
        ("update == marked", [3]),
        ("update != marked", [0, 1, 2, 4]),
        ("marked", [0, 2]),
        ("not marked", [1, 3, 4]),
        ("marked and mix_ratio > 1", [2]),
        ("note == 'say \"hi\"'", [3]),
        ('note == "a Curve, it\'s"', [0]),
        # blocks: numbers as they are written; order by their parts
        ("block == 2.1", [0, 4]),
        ("2.1 == block", [0, 4]),
        ("block == 3.10", [2, 3]),
        ("block == 3.1", []),
        ("block != 3.10", [0, 1, 4]),
        ("block > 3.9", [2, 3]),
        ("block >= 3", [1, 2, 3]),
        ("2.1 < block < 3.10", [1]),
        ('block < "3.9"', [0, 4]),
        ("block <= block", [0, 1, 2, 3, 4]),
        ("block in [3.9, 2.1]", [0, 1, 4]),
        ('block in ["3.10"]', [2, 3]),
        # in
        ("channel in [0, 3, 99]", [0, 3]),
        ("channel in (0, 3)", [0, 3]),
        ("channel in {0, 3}", [0, 3]),
        ("channel not in [0, 3]", [1, 2, 4]),
        ("out_on_in in [-1, -3]", [0, 2]),
        ("channel in []", []),
        ("channel not in []", [0, 1, 2, 3, 4]),
        ("update in []", []),
        ("update not in []", [0, 1, 2, 3, 4]),
        ("channel + 1 in [1]", [0]),
        ("scale_invariant in [true]", [0, 4]),
        ("scale_invariant in [False]", [1]),
        ('update in ["skip", "mix"]', [1, 2, 4]),
        ('update not in ["skip", "mix"]', [0, 3]),
        ("channel < 3 in [3]", [0, 1, 2]),
        ("0 < channel in [0, 3]", [3]),
        # text within text, tags
        ('"edge" in tags', [0, 1, 3]),
        ('"edge" not in tags', [2, 4]),
        ('tagged("edge")', [0, 3]),
        ('not tagged("edge")', [1, 2, 4]),
        ('tagged("blue edge")', []),
        ('tagged("")', []),
        ('"Curve" in note', [0]),
        ('"é" in note', [4]),
        ("10 in block", [2, 3]),
        ("update in 'skipping'", [2, 3, 4]),
        ("'' in tags", [0, 1, 2, 3, 4]),
        ('"edge" in tags == "edge"', [0]),
        # layout
        ("  mix_ratio\n >\t1\r\n", [2, 4]),
        ("mix_ratio>1", [2, 4]),
    ],
)
def test_an_expression_selects(expression: str, rows: list[int]) -> None:
    assert select(expression) == rows


def test_a_mask_of_no_rows_is_empty() -> None:
    empty = FRAME.take([])
    for expression in (
        "mix_ratio > 1",
        "block > 2.1",
        "tagged('a')",
        "'a' in note",
        "update in ['a']",
        "marked",
        "true",
    ):
        assert compile_filter(expression).mask(empty).tolist() == []


def test_a_mask_may_be_changed_without_changing_the_frame() -> None:
    mask = compile_filter("true").mask(FRAME)
    mask[0] = False
    assert select("true") == [0, 1, 2, 3, 4]


def test_a_filter_knows_the_columns_it_reads() -> None:
    found = compile_filter('mix_ratio > 1 and (tagged("a") or mix_ratio < rho)')
    assert found.columns == ("mix_ratio", "tags", "rho")
    assert found.expression == 'mix_ratio > 1 and (tagged("a") or mix_ratio < rho)'


@pytest.mark.parametrize(
    ("expression", "reason", "position"),
    [
        # syntax
        ("", "nothing is written; write a condition such as mix_ratio > 1", 0),
        (" \n ", "nothing is written; write a condition such as mix_ratio > 1", 0),
        ("mix_ratio >", "something is missing at the end", 11),
        ("mix_ratio > > 1", "unexpected '>'", 12),
        ("mix_ratio 1", "unexpected '1'", 10),
        ("channel > 1 and", "something is missing at the end", 15),
        ("(channel > 1", "'(' was never closed", 0),
        ("channel > 1)", "unmatched ')'", 11),
        ("channel == 'a", "unterminated string literal", 11),
        ("channel = 1", "use '==' to compare", 8),
        ("channel > 1 && marked", "use 'and' instead of '&&'", 12),
        ("channel > 1 || marked", "use 'or' instead of '||'", 12),
        ("!marked", "use 'not' instead of '!'", 0),
        ("channel <> 1", "use '!=' instead of '<>'", 8),
        ("channel > 1; marked", "unexpected ';'", 11),
        ("   channel > > 1", "unexpected '>'", 13),
        ("'é' == 'é' == > 1", "unexpected '>'", 14),
        ("channel > 1\0", "unexpected character '\\x00'", 11),
        ("note == '\ud800'", "unexpected character '\\ud800'", 9),
        # names
        ("0.8 < M < 1.25", "unknown column 'M'; did you mean mix_ratio?", 6),
        ("mix_ration > 1", "unknown column 'mix_ration'; did you mean mix_ratio, mei_mix_ratio or seeds_mix_ratio?", 0),
        ("channel > 1 and Mix_Ratio > 1", "unknown column 'Mix_Ratio'; did you mean mix_ratio?", 16),
        ("note == 'é' and chanel > 1", "unknown column 'chanel'; did you mean channel?", 16),
        ("update == skip", "unknown column 'skip'; text needs quotes: \"skip\"", 10),
        ("robust == null", "nothing compares with null; write missing(column)", 10),
        ("robust == None", "nothing compares with None; write missing(column)", 10),
        # functions
        ("channel > 1 and log(rho) > 1", "unknown function 'log'; functions are abs, missing, tagged", 16),
        ("mising(rho)", "unknown function 'mising'; did you mean missing?", 0),
        ("abs() > 1", "abs() takes one value", 0),
        ("abs(rho, 1) > 1", "abs() takes one value", 0),
        ("missing(x=rho)", "missing() takes one value", 0),
        ("abs(update) > 1", "update is text, not a number", 4),
        ("tagged(channel)", 'tagged() takes a tag, for example tagged("edge")', 7),
        ("tagged('a', 'b')", "tagged() takes one value", 0),
        # types
        ("mix_ratio > 'a'", "mix_ratio (number) does not compare with 'a' (text)", 12),
        ("block == channel", "block (text) does not compare with channel (number)", 9),
        ("update == true", "update (text) does not compare with true (true or false)", 10),
        ("block == -2.1", "block (text) does not compare with -2.1 (number)", 9),
        ("block + 1 > 2", "block is text, not a number", 0),
        ("1 + 'a' > 2", "'a' is text, not a number", 4),
        ("-update > 1", "update is text, not a number", 1),
        ("mix_ratio", "mix_ratio is a number, not a condition; compare it, for example mix_ratio > 1", 0),
        (
            "marked and channel + 1",
            "channel + 1 is a number, not a condition; compare it, for example channel + 1 > 1",
            11,
        ),
        ("not channel", "channel is a number, not a condition; compare it, for example channel > 1", 4),
        ("channel == 3 or 4", "4 alone is not a condition; write for example channel in [3, 108]", 16),
        ("update == 'mix' or 'x'", '\'x\' alone is not a condition; write for example update in ["mix", "skip"]', 19),
        ("channel in 5", "5 is no list and no text; write [1, 2] after 'in'", 11),
        ("channel in mix_ratio", "mix_ratio is no list and no text; write [1, 2] after 'in'", 11),
        ("channel in tags", "channel is no text to look for in text", 0),
        ("channel in [1, 'a']", "channel (number) does not compare with 'a' (text)", 15),
        ("update in ['a', true]", "update (text) does not compare with true (true or false)", 16),
        ("channel in [1, mix_ratio]", 'a list holds values such as 3 or "mix"', 15),
        ("channel in [[1]]", 'a list holds values such as 3 or "mix"', 12),
        ("channel in [1] in [2]", "nothing can follow a list", 18),
        ("channel == [1]", "a list can only follow 'in' or 'not in'", 11),
        ("marked, channel", "a list can only follow 'in' or 'not in'", 0),
        # what Python knows and a filter does not
        ("channel & 1", "use 'and' instead of '&'", 8),
        ("(channel > 1) | marked", "use 'or' instead of '|'", 14),
        ("~marked", "use 'not' instead of '~'", 0),
        ("channel is 1", "use '==' instead of 'is'", 8),
        ("channel is not 1", "use '!=' instead of 'is not'", 8),
        ("channel ** 2 > 1", "this operator is not known here; there are + - * /", 8),
        ("channel % 2 == 0", "this operator is not known here; there are + - * /", 8),
        ("channel[0] == 1", "an index in square brackets has no place in a filter", 0),
        ("marked.upper", "a '.' after a name has no place in a filter", 0),
        ("marked if robust else note", "'if' has no place in a filter", 0),
        ("(x := 1) > 0", "':=' has no place in a filter", 1),
        ("f'{marked}' == ''", "an f-string has no place in a filter", 0),
        ("b'a' == marked", "b'a' has no place in a filter", 0),
        ("channel > 1j", "1j has no place in a filter", 10),
        ("channel > ...", "... has no place in a filter", 10),
        ("channel > 1e999", "this number is too large", 10),
        ("channel in [1, -1e999]", "this number is too large", 16),
        (f"channel > {'9' * 400}", "this number is too large", 10),
        (f"channel > {'9' * 5000}", "this number is too large", 10),
    ],
)
def test_a_wrong_expression_says_what_and_where(expression: str, reason: str, position: int) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(expression)
    assert (caught.value.reason, caught.value.position) == (reason, position)
    assert caught.value.exit_code == UsageError.exit_code
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').environ",
        "__import__('os')",
        "().__class__.__bases__[0].__subclasses__()",
        "channel.__class__ == 1",
        "channel.dtype == 1",
        "abs.__globals__ == 1",
        "[c for c in channel] == 1",
        "{c: 1 for c in tags} == 1",
        "(c for c in tags)",
        "(lambda: 1)() == 1",
        "lambda: true",
        "eval('1') == 1",
        "open('/etc/passwd')",
        "abs(*tags)",
        "abs(**tags)",
        "tags * 1000000000 == note",
        "'a' * 1000000000 in note",
        "9 ** 9 ** 9 > 1",
        "1 << 10000000000 > 1",
        "__builtins__",
        "await marked",
        "(yield marked)",
        "import os",
        "channel > 1\nimport os",
        "channel > 1; import os",
        "print('x')",
        "channel in [__import__('os')]",
        "f'{__import__(\"os\")}' == note",
        "channel in (x for x in [1])",
        "*channel",
        "@channel",
        "$channel",
        "`channel`",
        "channel > \\",
    ],
)
def test_code_is_refused_and_never_run(expression: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    with pytest.raises(FilterError):
        compile_filter(expression)
    assert dict(os.environ) == before
    assert capsys.readouterr() == ("", "")


DEEP = {
    "parentheses": "(" * 5000 + "channel" + ")" * 5000,
    "nots": "not " * 4000 + "marked",
    "minuses": "-" * 15000 + "1 > 0",
    "sums": "+".join(["1"] * 9000) + " > 1",
    "nested sums": "(1+" * 190 + "1" + ")" * 190 + " > 1",
    "nested nots": "not (" * 190 + "marked" + ")" * 190,
    "nested calls": "abs(" * 190 + "channel" + ")" * 190 + " > 1",
    "nested comparisons": "(true == " * 190 + "true" + ")" * 190,
    "lists": "channel in " + "[" * 5000,
    "attributes": "marked" + ".a" * 9000,
    "indices": "marked" + "[0]" * 6000,
    "calls": "marked" + "()" * 9000,
    "lambdas": "lambda: " * 2000 + "1",
    "conditions": "1 if " * 2000 + "1",
    "powers": "2" + "**2" * 5000 + " > 1",
    "length": "marked or " * 100_000 + "marked",
}


@pytest.mark.parametrize("name", DEEP)
def test_long_or_deep_input_is_an_error_of_the_filter(name: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(DEEP[name])
    assert len(str(caught.value)) < 1000


def test_deep_input_is_an_error_of_the_filter_in_a_thread_and_deep_in_the_stack_too() -> None:
    found: list[str] = []

    def attempt(level: int) -> None:
        if level:
            return attempt(level - 1)
        for expression in DEEP.values():
            try:
                compile_filter(expression)
            except FilterError as error:
                found.append(error.reason)
        return None

    thread = threading.Thread(target=attempt, args=(sys.getrecursionlimit() // 2,))
    thread.start()
    thread.join()
    assert len(found) == len(DEEP)


def test_brackets_alone_are_no_depth_and_long_lists_work() -> None:
    assert select("(" * 150 + "channel" + ")" * 150 + " > 3") == [4]
    assert select(" or ".join(["channel == 1"] * 500)) == [1]
    assert select(f"channel in [{', '.join(map(str, range(3, 2048)))}]") == [3, 4]


def test_a_long_expression_is_shortened_in_the_message() -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter("channel > 1 and " * 100 + "nonsense")
    assert caught.value.position == 1600
    assert len(str(caught.value)) < 400


def test_python_s_own_warnings_about_the_text_stay_away(recwarn: pytest.WarningsRecorder) -> None:
    select("note == '\\d'")
    with pytest.raises(FilterError):
        compile_filter("1if channel else 2")
    assert not recwarn.list


def test_evaluating_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    assert select("1e308 * 1e308 * channel / 0 > 1") == []
    assert select("channel / channel == 1") == [1, 2, 3, 4]
    assert not recwarn.list


def test_every_example_of_the_help_compiles() -> None:
    lines = [line[2:42].rstrip() for line in HELP.splitlines() if line.startswith("  ")]
    assert len(lines) >= 9
    for example in lines:
        compile_filter(example)
