"""The one exception for bad input: its message is one line that names the culprit, the fault and the cure."""


class InputError(ValueError):
    """Raised for anything the user can mend: a file, a key, a value. The message is a single line."""
