"""How a declaration computes a figure, as text for the documentation: a method, read from its source."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

from .layers.base import Layer


def _body(function) -> list[ast.stmt]:
    body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body  # type: ignore[attr-defined]
    is_doc = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1:] if is_doc else body


def _say(statements: list[ast.stmt]) -> list[str] | None:
    """One text a statement; None where there is a loop or the like, which is no formula."""
    parts: list[str] = []
    for s in statements:
        if isinstance(s, ast.Return) and s.value is not None:
            parts.append(ast.unparse(s.value))
        elif isinstance(s, ast.Assign):
            parts.append(ast.unparse(s))
        elif isinstance(s, ast.If) and not s.orelse and (inner := _say(s.body)) and len(inner) == 1:
            parts.append(f"{inner[0]} if {ast.unparse(s.test)}, else")
        else:
            return None
    return parts


def _tidy(text: str) -> str:
    text = re.sub(r"self\.(in|out)puts\(\)\[(\d)\]\.beats", r"beats(\1\2)", text)
    return re.sub(r"\bself\.(\w+)(\(\))?", r"\1", text)


def _member(layer: type[Layer], name: str):
    """Function of a property or of a method without arguments; None for a field."""
    if name in layer.model_fields:
        return None
    found = inspect.getattr_static(layer, name, None)
    function = found.fget if isinstance(found, property) else found
    return function if inspect.isfunction(function) and len(inspect.signature(function).parameters) == 1 else None


def formula(layer: type[Layer], method: str = "cycles") -> str:
    """Statements of a method in the names of fields and streams, then what properties in them stand for.

    A method that simulates instead of computing is given by the first sentence of its documentation.
    """
    todo, done, lines = [method], set(), []
    while todo:
        name = todo.pop(0)
        function = _member(layer, name)
        if name in done or function is None or name in ("inputs", "outputs", "constants"):
            continue
        done.add(name)
        said = _say(_body(function))
        if said is None:
            text = (inspect.getdoc(function) or "simulated").split("\n")[0].rstrip(".")
        else:
            text = "; ".join(f"`{_tidy(p)}`" if not p.endswith(", else") else f"`{_tidy(p[:-6])}`, else" for p in said)
            text = text.replace(", else;", ", else")
            todo += re.findall(r"self\.(\w+)", " ".join(said))
        lines.append(text if name == method else f"`{name}`: {text}")
    return ". ".join(lines)
