"""Tables of networks: a DataFrame where pandas is installed, else a small table with the same columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from chop.errors import ChopError
from chop.tools.extras import install_command
from chop.tools.markup import joined, table

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
MOST_SHOWN = 60


class Table:
    """Rows with named columns. It has a few methods of a DataFrame, so that code works with either.

    >>> table = Table([{"trial": 3, "accuracy": 0.5}, {"trial": 7, "accuracy": 0.75}])
    >>> table["accuracy"], len(table), table.columns
    ([0.5, 0.75], 2, ['trial', 'accuracy'])
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(name for row in self._rows for name in row))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, column: str) -> list[Any]:
        if column not in self.columns:
            raise KeyError(column)
        return [row.get(column) for row in self._rows]

    def to_dict(self, orient: str = "records") -> list[dict[str, Any]]:
        """The rows as dictionaries; other forms need pandas."""
        if orient != "records":
            raise ChopError(f"orient={orient!r} needs pandas: {install_command('pandas')}")
        return [dict(row) for row in self._rows]

    def __repr__(self) -> str:
        if not self._rows:
            return "(no rows)"
        cells = [self.columns, *self._cells()]
        widths = [max(len(row[place]) for row in cells) for place in range(len(self.columns))]
        lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([*lines, *self._more()])

    def _repr_html_(self) -> str:
        texts = [place for place, name in enumerate(self.columns) if any(isinstance(v, str) for v in self[name])]
        return joined([table(self.columns, self._cells(), texts), *self._more()])

    def _cells(self) -> list[list[str]]:
        return [[_text(row.get(name)) for name in self.columns] for row in self._rows[:MOST_SHOWN]]

    def _more(self) -> list[str]:
        left = len(self) - MOST_SHOWN
        return [f"… and {left} more"] if left > 0 else []


def table_of(rows: Sequence[Row]) -> Table | pandas.DataFrame:
    """The rows as a DataFrame; without pandas as a `Table`."""
    return data_frame(rows) if find_spec("pandas") else Table(rows)


def data_frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """The rows as a DataFrame; raises ChopError where pandas is missing."""
    try:
        import pandas
    except ImportError as error:
        raise ChopError(f"a DataFrame needs the package pandas: {install_command('pandas')}") from error
    return pandas.DataFrame([dict(row) for row in rows])


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
