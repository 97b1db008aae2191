"""Frozen dataclasses as items of the ledger's table, and back."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, Generic

from pydantic import TypeAdapter, ValidationError

from adapters.ledger.table import WRONG, Change, Item, RowT
from fleet.errors import Refused
from fleet.field_names import fields_at_fault
from fleet.model import JobKey
from fleet.reasons import Reason
from fleet.steps import Step

_REASONS = frozenset(Reason)


def _unreadable(item: Item, kind: type, wrong: Collection[str]) -> Refused:
    """For an item that lacks what its kind of row holds, or holds something else.

    `row` is the item's keys. `wrong` names its fields at fault, never their values.
    """
    row = f"{item.get('pk')} {item.get('sk')}"
    sentence = f"a row of the ledger is not a readable {kind.__name__}"
    return Refused(sentence, row=row, wrong=", ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an attribute holds a value that is not stored field by field."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def _known_reason(word: str) -> Reason | None:
    return Reason(word) if word in _REASONS else None  # a newer fleet has more


JOB_KEY = Form(read=JobKey.parse, write=str)
REASON = Form(read=_known_reason, write=str)
STEPS = Form(
    read=lambda items: tuple(Step.of_item(item) for item in items),
    write=lambda steps: [step.item() for step in steps],
)


@dataclass(frozen=True, kw_only=True)
class RowType(Generic[RowT]):
    """One kind of row: a frozen dataclass, and the attributes that hold its fields."""

    of: type[RowT]
    names: Mapping[str, str] = field(default_factory=dict)  # of attributes, where not the field's
    forms: Mapping[str, Form] = field(default_factory=dict)  # by field
    inline: frozenset[str] = frozenset()  # fields whose own fields are attributes
    elsewhere: frozenset[str] = frozenset()  # fields that the item does not hold

    def read(self, item: Item, **others: Any) -> RowT:
        """The value of an item; `others` are the fields that are elsewhere.

        An attribute that is missing leaves its field at the default, else at None. Raises
        `Refused`, with `row` and `wrong`.
        """
        values = dict(others)
        for name, attribute in self._attributes.items():
            if name in self.inline:
                values[name] = item
            elif item.get(attribute) is not None:
                values[name] = self._formed(name, item)
            elif name in self._required:
                values[name] = None
        try:
            return self._adapter.validate_python(values)
        except ValidationError as exc:
            raise _unreadable(item, self.of, fields_at_fault(exc)) from None
        except Refused as exc:  # of `HasUtcTimes`
            raise _unreadable(item, self.of, [str(exc.facts["field"])]) from None

    def write(self, value: RowT, *, without: Collection[str] = ()) -> Item:
        """The attributes of a value. None has no attribute, nor a flag that is off by default."""
        item: Item = {}
        for name, attribute in self._attributes.items():
            fact = getattr(value, name)
            if name in without or fact is None or (fact is False and name in self._flags):
                continue
            form = self.forms.get(name)
            stored = form.write(fact) if form else storable(fact)
            item |= stored if name in self.inline else {attribute: stored}
        return item

    def replacing(
        self, pk: str, sk: str, value: RowT, *, without: Collection[str] = (), **others: Any
    ) -> Change:
        """The change that sets the attributes of a value and removes those that it has not."""
        put = self.write(value, without=without)
        missing = {a for n, a in self._attributes.items() if n not in {*without, *self.inline}}
        return Change(pk=pk, sk=sk, put=put | others, remove=tuple(sorted(missing - put.keys())))

    def _formed(self, name: str, item: Item) -> Any:
        stored = item[self._attributes[name]]
        form = self.forms.get(name)
        if form is None:
            return stored
        try:
            return form.read(stored)
        except WRONG:
            raise _unreadable(item, self.of, [name]) from None

    @cached_property
    def _adapter(self) -> TypeAdapter[RowT]:
        return TypeAdapter(self.of)  # made when it is first needed: a cold start pays for its own

    @cached_property
    def _attributes(self) -> Mapping[str, str]:
        parts = fields(self.of)  # type: ignore[arg-type]
        names = [part.name for part in parts if part.name not in self.elsewhere]
        return {name: self.names.get(name, name) for name in names}

    @cached_property
    def _required(self) -> frozenset[str]:
        return frozenset(
            part.name
            for part in fields(self.of)  # type: ignore[arg-type]
            if part.default is MISSING and part.default_factory is MISSING
        )

    @cached_property
    def _flags(self) -> frozenset[str]:
        parts = fields(self.of)  # type: ignore[arg-type]
        return frozenset(part.name for part in parts if part.default is False)


def storable(value: Any) -> Any:
    """Dataclasses as maps, however deep they lie."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: storable(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {key: storable(inner) for key, inner in value.items()}
    return value
