"""Text from outside, with nothing in it that steers a terminal, a page or a spreadsheet."""


def escaped(text: object, *, keep: str = "") -> str:
    r"""The text with `\n`, `\x1b`, `\u202e` for what does not print; `keep` is let through.

    Python counts controls, separators and the characters that turn an order as not printing.
    """
    written = str(text)
    if written.isprintable():
        return written
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode()
        for one in written
    )
