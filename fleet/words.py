"""Numbers with their nouns."""


def counted(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`: with a noun whose plural only adds an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
