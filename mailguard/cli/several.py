"""A command whose options take several values at once, `--ham A B C` as well as `--ham A --ham B`, so that a shell's * is of use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click.core import Context  # typer has its own Click


class SeveralValues(TyperCommand):
    """Repeats the options that may be given several times before each further value. Only for commands without arguments."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """See Click."""
        repeated = [name for param in self.params if getattr(param, "multiple", False) for name in param.opts]
        return super().parse_args(ctx, spread(args, repeated))


def spread(args: Iterable[str], repeated: Iterable[str]) -> list[str]:
    """`--ham A B` as `--ham A --ham B`, for the options named in `repeated`; a value that starts with a dash ends the row."""
    names = frozenset(repeated)
    found: list[str] = []
    option, values = "", 0
    for arg in args:
        if arg.startswith("-") and arg != "-":
            option, values = (arg, 0) if arg in names else ("", 0)
        elif option:
            if values:
                found.append(option)
            values += 1
        found.append(arg)
    return found
