"""Filter expressions over the channel table, such as `mix_ratio > 1 and not marked`. Never runs the text as code.

The text is parsed by Python's own parser, checked against a short list of what is allowed, and turned into NumPy
operations over whole columns. Types are checked when it is compiled, so that a mistake shows before any row is read.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.core.table.columns import BY_NAME, Kind, either, natural_key, near_names
from streamscope.core.table.expression import Expression, shortened
from streamscope.core.table.frame import Frame

HELP = """\
A filter is a condition over the columns of the channel table:

  mix_ratio > 1 and update != "skip"      and, or, not; == != < <= > >=
  0.5 < mix_ratio < 1.5                   comparisons chain
  block_gain + input_gain > 2 * rho       + - * / and abs(x)
  block in ["2.1", "3.0"]                 in, not in; also numbers: channel in [3, 108]
  block >= 3.0                            blocks need no quotes; 3.10 comes after 3.9
  scale_invariant and not marked          true or false columns, and text that is not empty
  tagged("edge")                          has the tag edge; "edge" in tags finds edges too
  "curve" in note                         text within text
  missing(robust)                         the field is empty

Other text needs quotes, and is compared as it is written. Empty fields are neither equal, unequal, smaller nor
larger: every comparison of an empty number, true or false with anything is false, also !=, in and not in. So
"not (mix_ratio > 1)" takes rows without a mix_ratio too and "mix_ratio <= 1" leaves them out; "not robust" takes rows
where robust is empty and "robust == false" does not. Empty text is text: update != "skip" takes rows without an
update. Dividing by zero gives an empty number. In a shell, put the whole filter between single quotes.
"""

MAX_DEPTH = 60
"""Levels of brackets and operators; far below what Python's stack holds, also from deep inside an app."""

_NO_ROWS = Frame({})

Evaluate = Callable[[Frame], Any]
Compare = Callable[[Any, Any], Any]

_COMPARE: dict[type[ast.cmpop], Compare] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Compare] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS = ("abs", "missing", "tagged")
_TRUTHS = {"true": 1.0, "false": 0.0}
_SYMBOLS = {"M": "mix_ratio", "SM": "scale_metric", "SI": "scale_invariant"}
"""What the field writes for a column."""
_MEANT_IS: dict[type[ast.AST], str] = {
    ast.BitAnd: "use 'and' instead of '&'",
    ast.BitOr: "use 'or' instead of '|'",
    ast.Invert: "use 'not' instead of '~'",
    ast.Is: "use '==' instead of 'is'",
    ast.IsNot: "use '!=' instead of 'is not'",
}
_NO_PLACE: dict[type[ast.AST], str] = {
    ast.Attribute: "a '.' after a name",
    ast.Subscript: "an index in square brackets",
    ast.Lambda: "lambda",
    ast.IfExp: "'if'",
    ast.NamedExpr: "':='",
    ast.Starred: "'*' before a value",
    ast.JoinedStr: "an f-string",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Dict: "a dictionary",
    ast.Await: "await",
    ast.Yield: "yield",
}


@dataclass(frozen=True)
class Filter:
    """A compiled expression; `columns` are those it reads, in the order it names them."""

    expression: str
    columns: tuple[str, ...]
    _evaluate: Evaluate

    def mask(self, frame: Frame) -> NDArray[np.bool_]:
        """Which rows meet the condition, shape (rows,)."""
        with np.errstate(all="ignore"):
            return np.array(np.broadcast_to(self._evaluate(frame), len(frame)), dtype=bool)


def compile_filter(expression: str) -> Filter:
    """Checks and compiles an expression (`HELP` describes the language). Raises FilterError saying what and where."""
    source = Expression(expression)
    compiler = _Compiler(source)
    try:
        evaluate = compiler.condition(compiler.term(source.parse(), 0))
    except (RecursionError, MemoryError):
        raise source.error("nested too deeply", 0) from None
    return Filter(expression, tuple(compiler.columns), evaluate)


@dataclass(frozen=True)
class _Term:
    """A part of the expression. `literal` is the source text of a number that is written out, so that `block == 3.10`
    compares with "3.10"; evaluating gives one value or an array, a bool one as bool or as float with NaN."""

    kind: Kind
    node: ast.expr
    evaluate: Evaluate
    literal: str | None = None


class _Compiler:
    def __init__(self, source: Expression) -> None:
        self.error = source.error
        self.after = source.after
        self.text_of = source.text_of
        self.columns: dict[str, None] = {}

    # -- terms: every node becomes one typed value ------------------------------------------------------------------

    def term(self, node: ast.expr, depth: int) -> _Term:
        if depth > MAX_DEPTH:
            raise self.error("nested too deeply", node)
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name():
                return self.name(node)
            case ast.BoolOp():
                conditions = [self.condition(self.term(value, depth + 1)) for value in node.values]
                join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
                return _Term("bool", node, lambda frame: _fold(join, [c(frame) for c in conditions]))
            case ast.UnaryOp(op=ast.Not()):
                condition = self.condition(self.term(node.operand, depth + 1))
                return _Term("bool", node, lambda frame: np.logical_not(condition(frame)))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                value = self.number(self.term(node.operand, depth + 1))
                if isinstance(node.op, ast.UAdd):
                    return _Term("number", node, value)
                return _Term("number", node, lambda frame: -value(frame))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                return self.arithmetic(node, depth)
            case ast.BinOp(op=op) | ast.UnaryOp(op=op):
                hint = _MEANT_IS.get(type(op), "this operator is not known here; there are + - * /")
                raise self.error(hint, self.after(node.left) if isinstance(node, ast.BinOp) else node)
            case ast.Compare():
                return self.comparison(node, depth)
            case ast.Call():
                return self.call(node, depth)
            case ast.List() | ast.Tuple() | ast.Set():
                raise self.error("a list can only follow 'in' or 'not in'", node)
        raise self.error(f"{_NO_PLACE.get(type(node), 'this')} has no place in a filter", node)

    def constant(self, node: ast.Constant) -> _Term:
        value = node.value
        if isinstance(value, bool):
            return _Term("bool", node, lambda frame: float(value))
        if isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = np.inf
            if number == np.inf:
                raise self.error("this number is too large", node)
            return _Term("number", node, lambda frame: number, literal=self.text_of(node))
        if isinstance(value, str):
            return _Term("text", node, lambda frame: value)
        if value is None:
            raise self.error("nothing compares with None; write missing(column)", node)
        raise self.error(f"{self.text_of(node)} has no place in a filter", node)

    def name(self, node: ast.Name) -> _Term:
        name = node.id
        if name in _TRUTHS:
            return _Term("bool", node, lambda frame: _TRUTHS[name])
        found = BY_NAME.get(name)
        if found is None:
            if name in ("null", "nan", "NaN", "none"):
                raise self.error(f"nothing compares with {name}; write missing(column)", node)
            near = [_SYMBOLS[name]] if name in _SYMBOLS else near_names(name, list(BY_NAME))
            hint = f"did you mean {either(near)}?" if near else f'text needs quotes: "{shortened(name)}"'
            raise self.error(f"unknown column {shortened(name)!r}; {hint}", node)
        self.columns[name] = None
        return _Term(found.kind, node, lambda frame: frame.columns[name])

    def arithmetic(self, node: ast.BinOp, depth: int) -> _Term:
        left = self.number(self.term(node.left, depth + 1))
        right = self.number(self.term(node.right, depth + 1))
        if isinstance(node.op, ast.Div):
            return _Term("number", node, lambda frame: _divide(left(frame), right(frame)))
        apply = _ARITHMETIC[type(node.op)]
        return _Term("number", node, lambda frame: apply(left(frame), right(frame)))

    def call(self, node: ast.Call, depth: int) -> _Term:
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
            called = self.text_of(node.func) if isinstance(node.func, ast.Name) else "this"
            near = near_names(called, list(_FUNCTIONS))
            hint = f"did you mean {near[0]}?" if near else f"functions are {', '.join(_FUNCTIONS)}"
            raise self.error(f"unknown function {shortened(called)!r}; {hint}", node)
        function = node.func.id
        if node.keywords or len(node.args) != 1:
            raise self.error(f"{function}() takes one value", node)
        argument = self.term(node.args[0], depth + 1)
        evaluate = argument.evaluate
        if function == "abs":
            value = self.number(argument)
            return _Term("number", node, lambda frame: np.abs(value(frame)))
        if function == "missing":
            if argument.kind == "text":
                return _Term("bool", node, lambda frame: evaluate(frame) == "")
            return _Term("bool", node, lambda frame: np.isnan(evaluate(frame)))
        if argument.kind != "text":
            raise self.error('tagged() takes a tag, for example tagged("edge")', argument.node)
        self.columns["tags"] = None
        return _Term(
            "bool", node, lambda frame: _each(lambda tag, tags: tag in tags.split(), evaluate(frame), frame["tags"])
        )

    # -- what a term may stand for -----------------------------------------------------------------------------------

    def condition(self, term: _Term) -> Evaluate:
        evaluate = term.evaluate
        if term.kind == "bool":
            return lambda frame: evaluate(frame) == 1
        shown = shortened(self.text_of(term.node))
        if isinstance(term.node, ast.Constant):
            example = 'update in ["mix", "skip"]' if term.kind == "text" else "channel in [3, 108]"
            raise self.error(f"{shown} alone is not a condition; write for example {example}", term.node)
        if term.kind == "number":
            raise self.error(f"{shown} is a number, not a condition; compare it, for example {shown} > 1", term.node)
        return lambda frame: evaluate(frame) != ""

    def number(self, term: _Term) -> Evaluate:
        if term.kind == "text":
            raise self.error(f"{shortened(self.text_of(term.node))} is text, not a number", term.node)
        if term.kind == "bool":
            return lambda frame: np.asarray(term.evaluate(frame), dtype=np.float64)
        return term.evaluate

    def alike(self, left: _Term, right: _Term) -> tuple[_Term, _Term]:
        """Both as numbers or both as text; a number that is written out is text beside text."""
        if left.kind == "text":
            right = _text(right)
        elif right.kind == "text":
            left = _text(left)
        if (left.kind == "text") != (right.kind == "text"):
            words = [
                f"{shortened(self.text_of(t.node))} ({'true or false' if t.kind == 'bool' else t.kind})"
                for t in (left, right)
            ]
            raise self.error(f"{words[0]} does not compare with {words[1]}", right.node)
        if left.kind == "text":
            return left, right
        return _Term("number", left.node, self.number(left)), _Term("number", right.node, self.number(right))

    # -- comparisons -------------------------------------------------------------------------------------------------

    def comparison(self, node: ast.Compare, depth: int) -> _Term:
        links: list[Evaluate] = []
        left: _Term | None = self.term(node.left, depth + 1)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if left is None:
                raise self.error("nothing can follow a list", right_node)
            if type(op) in _MEANT_IS:
                raise self.error(_MEANT_IS[type(op)], self.after(left.node))
            if isinstance(op, ast.In | ast.NotIn):
                test, left = self.membership(left, right_node, isinstance(op, ast.NotIn), depth)
            else:
                right = self.term(right_node, depth + 1)
                test, left = self.link(left, right, _COMPARE[type(op)]), right
            links.append(test)
        return _Term("bool", node, lambda frame: _fold(np.logical_and, [link(frame) for link in links]))

    def link(self, left: _Term, right: _Term, compare: Compare) -> Evaluate:
        left, right = self.alike(left, right)
        first, second = left.evaluate, right.evaluate
        if left.kind == "text":
            if compare in (operator.eq, operator.ne):
                return lambda frame: compare(first(frame), second(frame))
            return lambda frame: _each(
                lambda a, b: compare(natural_key(a), natural_key(b)), first(frame), second(frame)
            )
        if compare is operator.ne:
            return lambda frame: _unequal(first(frame), second(frame))
        return lambda frame: compare(first(frame), second(frame))

    def membership(self, left: _Term, right_node: ast.expr, negated: bool, depth: int) -> tuple[Evaluate, _Term | None]:
        if isinstance(right_node, ast.List | ast.Tuple | ast.Set):
            return self.among(left, right_node.elts, negated, depth), None
        right = self.term(right_node, depth + 1)
        if right.kind != "text":
            raise self.error(
                f"{shortened(self.text_of(right_node))} is no list and no text; write [1, 2] after 'in'", right_node
            )
        if left.kind != "text" and left.literal is None:
            raise self.error(f"{shortened(self.text_of(left.node))} is no text to look for in text", left.node)
        needle, hay = _text(left).evaluate, right.evaluate
        return lambda frame: np.not_equal(_each(operator.contains, hay(frame), needle(frame)), negated), right

    def among(self, left: _Term, items: list[ast.expr], negated: bool, depth: int) -> Evaluate:
        values = []
        for item in items:
            plain = item.operand if isinstance(item, ast.UnaryOp) else item
            if not isinstance(plain, ast.Constant) and not (isinstance(plain, ast.Name) and plain.id in _TRUTHS):
                raise self.error('a list holds values such as 3 or "mix"', item)
            left, right = self.alike(left, self.term(item, depth + 1))
            values.append(right.evaluate(_NO_ROWS))
        look = left.evaluate
        if left.kind == "text":
            wanted = set(values)
            return lambda frame: np.not_equal(_each(lambda text, _: text in wanted, look(frame), ""), negated)
        return lambda frame: np.isin(look(frame), values, invert=negated) & ~np.isnan(look(frame))


def _text(term: _Term) -> _Term:
    if term.literal is None:
        return term
    literal = term.literal
    return _Term("text", term.node, lambda frame: literal)


def _fold(join: Compare, values: Iterable[Any]) -> Any:
    result, *rest = values
    for value in rest:
        result = join(result, value)
    return result


def _unequal(left: Any, right: Any) -> Any:
    return (left != right) & ~np.isnan(left) & ~np.isnan(right)


def _divide(left: Any, right: Any) -> Any:
    return np.where(np.equal(right, 0), np.nan, np.divide(left, right))


def _each(test: Callable[[str, str], bool], left: Any, right: Any) -> NDArray[np.bool_]:
    """`test` of every pair of texts; columns repeat themselves, so each distinct pair is tested once."""
    pairs = np.broadcast(np.asarray(left, dtype=object), np.asarray(right, dtype=object))
    known: dict[tuple[str, str], bool] = {}
    results = []
    for pair in pairs:
        result = known.get(pair)
        if result is None:
            result = known[pair] = bool(test(*pair))
        results.append(result)
    return np.array(results, dtype=bool).reshape(pairs.shape)
