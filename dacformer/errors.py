"""The one exception for what a user can mend."""


class UserError(ValueError):
    """A mistake in what was given: a file, a YAML key, a control, an argument.

    The message says what was given, what was expected and what to do. The command line prints it
    without a traceback and exits with code 2.
    """
