"""The one exception for what a user can mend."""


class UserError(ValueError):
    """A mistake in what was given: a file, a YAML key, a control, an argument.

    The message says what was given, what was expected and what to do. The command line prints it
    without a traceback and exits with code 2; a notebook shows it alone, too.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython prints."""
        return [f"{type(self).__name__}: {self}"]
