"""Every change of one comparison, operator or number that a file can be given."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}

GUARDS = ("strict", "frozen")


@dataclass(frozen=True)
class Change:
    """One expression of a file, and what stands in its place."""

    path: Path  # from the root of the project
    line: int  # the first is 1
    last_line: int
    start: int  # bytes from the file's first
    end: int
    before: str
    after: str

    def applied(self, source: bytes) -> bytes:
        """The file's text with the change; it has as many lines as before."""
        lost = self.before.count("\n") - self.after.count("\n")
        return (
            source[: self.start] + f"({self.after}{chr(10) * lost})".encode() + source[self.end :]
        )

    def __str__(self) -> str:
        before = " ".join(self.before.split())
        return f"{self.path}:{self.line}  {before}  ->  {self.after}"


def changes(root: Path, path: Path) -> list[Change]:
    """All changes of a file, in the order of its text.

    Annotations are left, since nothing runs them, and so are texts: what an f-string fills in has
    no place of its own before Python 3.12. So are `strict` of zip and `frozen` of dataclasses,
    which refuse a slip of whoever writes the code, and change no result of code without it. Whole
    numbers below 10 grow by one, others are doubled.
    """
    source = (root / path).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in _expressions(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        for changed in _variants(node):
            place = (node.lineno, node.end_lineno, start, end, source[start:end].decode())
            found.append(Change(path, *place, ast.unparse(changed)))
    return sorted(found, key=lambda change: (change.start, change.end, change.after))


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions below a node that are run."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg in GUARDS):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.expr):
                yield child
            if isinstance(child, ast.AST):
                yield from _expressions(child)


def _variants(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[place] = other()
                    yield changed
        case ast.BinOp() | ast.BoolOp() if type(node.op) in OPERATORS:
            changed = copy.deepcopy(node)
            changed.op = OPERATORS[type(node.op)]()
            yield changed
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield copy.deepcopy(node.operand)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(
                value + 1 if isinstance(value, int) and value < 10 else 2 * value or 1.0
            )
