"""The one exception for bad input: its message is one line that names the culprit, the fault and the cure."""

_LONGEST = 500  # characters; what a file or a key holds may be a million


class InputError(ValueError):
    """Raised for anything the user can mend: a file, a key, a value. The message is a single line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """A message without line breaks, its middle left out where it is too long: fault and cure stand at its ends."""
    line = " ".join(message.splitlines())
    if len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST // 2]} [...] {line[-_LONGEST // 2 :]}"
