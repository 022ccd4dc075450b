"""The one error that the command line shows as a sentence instead of a traceback."""


class ImageBuildError(Exception):
    """Something the user can put right; the message says what, where and how."""
