"""The names of invalid fields of outside data; an error shows names only, never values."""

from pydantic import ValidationError


def fields_at_fault(exc: ValidationError) -> list[str]:
    """Their dotted names, in order; `body` for the whole.

    Raise on `from None`: the error itself repeats values, and those may be secrets.
    """
    errors = exc.errors(include_input=False, include_url=False, include_context=False)
    return sorted({".".join(str(step) for step in error["loc"]) or "body" for error in errors})
