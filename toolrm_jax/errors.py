"""The one kind of error a user can cause: a single line that says what, where, and the way out."""


class ToolrmError(Exception):
    """Something the user can mend. `toolrm` prints its one line and exits with code 2, without a traceback."""


class DataError(ToolrmError):
    """A file or record that is missing, malformed, or of the wrong kind."""


class ConfigError(ToolrmError):
    """A setting that is unknown, of the wrong type, or at odds with another."""


class ModelError(ToolrmError):
    """A model folder, checkpoint or weight file that cannot be used as asked."""
