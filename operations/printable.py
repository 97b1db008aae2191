"""Text from outside, with nothing in it that steers a terminal, a page or a spreadsheet."""


def escaped(text: object, *, keep: str = "") -> str:
    r"""The text with `\n`, `\x1b`, `\u202e` for what does not print; `keep` is let through.

    Python counts controls, separators and the characters that turn an order as not printing.
    """
    written = str(text)
    if written.isprintable():
        return written
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape").decode()
        for letter in written
    )
