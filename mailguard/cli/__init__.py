"""The command line, `mailguard`: commands one file a noun, each calling one service. Errors become an exit code here.

Modules import at their top only what parsing the arguments needs: services load when a command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXIT_FAILED = 1
"""Not found, in conflict, unavailable, or a check that does not hold."""
EXIT_WRONG = 2
"""A setting, policy, flag or argument is wrong."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run `mailguard`. Raises SystemExit: 0 done, 1 not found, in conflict or unavailable, 2 wrong settings or flags."""
    from mailguard.cli.commands import app
    from mailguard.cli.terminal import complain
    from mailguard.core.errors import ConfigError, ConflictError, NotFoundError, UnavailableError

    try:
        app(args=list(argv) if argv is not None else None, prog_name="mailguard")
    except ConfigError as error:
        for problem in error.problems:
            complain(f"error: {problem}")
        sys.exit(EXIT_WRONG)
    except (NotFoundError, ConflictError) as error:
        complain(f"error: {error}")
        sys.exit(EXIT_FAILED)
    except UnavailableError as error:
        complain(f"unavailable: {error}")
        sys.exit(EXIT_FAILED)
