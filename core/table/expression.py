"""A filter's text: parsed by Python's own parser, never run, with errors in plain words and their place."""

from __future__ import annotations

import ast
import re
import warnings

from streamscope.core.errors import FilterError

MAX_LENGTH = 20_000
"""Characters; a list of every channel of ResNet50's widest block has 12,000."""

SYNTAX_HINTS = (
    (r"&&", "use 'and' instead of '&&'"),
    (r"\|\|", "use 'or' instead of '||'"),
    (r"!(?!=)", "use 'not' instead of '!'"),
    (r"<>", "use '!=' instead of '<>'"),
    (r"(?<![=!<>])=(?!=)", "use '==' to compare"),
)


class Expression:
    """One filter's text and where its parts are. `error` takes positions in `source`, which is the text stripped."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        # line breaks and tabs would change what Python's parser takes for a line and its indentation
        text = re.sub(r"[\n\r\t\f\v]", " ", expression)
        self.source = text.strip(" ")
        self.indent = text.index(self.source[:1])

    def error(self, message: str, where: ast.expr | int) -> FilterError:
        position = where if isinstance(where, int) else self.character(where.col_offset)
        return FilterError(message, shortened(self.expression), position + self.indent)

    def character(self, byte: int) -> int:
        """ast counts UTF-8 bytes."""
        if self.source.isascii():
            return byte
        return len(self.source.encode()[:byte].decode(errors="ignore"))

    def text_of(self, node: ast.expr) -> str:
        first, last = self.character(node.col_offset), self.character(node.end_col_offset or 0)
        return self.source[first:last]

    def after(self, node: ast.expr) -> int:
        """Where the operator after a node is; ast does not say."""
        end = self.character(node.end_col_offset or 0)
        return end + len(self.source[end:]) - len(self.source[end:].lstrip(" )"))

    def parse(self) -> ast.expr:
        if not self.source:
            raise self.error("nothing is written; write a condition such as mix_ratio > 1", 0)
        if len(self.source) > MAX_LENGTH:
            raise self.error(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
        for strange in re.finditer(r"[\0\ud800-\udfff]", self.source):
            raise self.error(f"unexpected character {strange[0]!r}", strange.start())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's own about backslashes and such
                return ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            raise self.syntax_error(error) from None

    def syntax_error(self, error: SyntaxError) -> FilterError:
        """In our words where Python's would mislead; its offset counts from 1 and is 0 at the end of the text."""
        position = (error.offset or len(self.source) + 1) - 1
        reason = error.msg.split(" (detected at")[0]
        if huge := re.search(r"[0-9]{4300}", self.source):  # the most that Python turns into a number
            return self.error("this number is too large", huge.start())
        for pattern, hint in SYNTAX_HINTS:
            for start in (position - 1, position):
                if start >= 0 and re.compile(pattern).match(self.source, start):
                    return self.error(hint, start)
        if not reason.startswith("invalid syntax"):
            return self.error(reason[:1].lower() + reason[1:], position)
        word = re.compile(r"\w+|.").match(self.source, position)
        return self.error(f"unexpected {word[0]!r}" if word else "something is missing at the end", position)


def shortened(text: str) -> str:
    """Long text shortened for a message of one line."""
    return text if len(text) <= 200 else text[:200] + "…"
