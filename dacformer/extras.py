"""One clear line where an optional dependency is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from dacformer.errors import UserError


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Guard imports that need an extra of `pyproject.toml`.

    Example:
        with require_extra("live"):
            import mido

    Args:
        extra: Its name: `notebook`, `live`, `eval`, `dev`.

    Raises:
        UserError: A package is missing; the message says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "dacformer":
            raise
        raise UserError(f'This needs {error.name}, which is not installed: pip install "dacformer[{extra}]"') from None
