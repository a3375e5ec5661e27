"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A mistake the user can mend: bad config, missing file, wrong vocabulary, full disk.

    The message is one line: what was given, what was expected, what to do. The verbs print it
    without a traceback and exit with code 2.
    """
