"""The registry of everything that users choose by name and plug-ins may add.

A registry is filled by a decorator, by lazily imported built-ins (so that listing names costs no import) and by
entry points of the group `chop.<plural>`. A broken plug-in fails only when its own name is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import is_dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from io import StringIO
from itertools import chain
from pathlib import Path
from traceback import extract_tb
from typing import Any, Generic, TypeVar

from chop.errors import ChopError, UnknownNameError, did_you_mean, nearest

logger = logging.getLogger(__name__)

T = TypeVar("T")

REGISTER_IT = "import the module, or install the package, that registers it"
"""The cure where a file names what a plug-in had registered when the file was written."""


class Registry(Generic[T]):
    """Names of one kind of thing (`noun`), each bound to an object or to the module that registers it.

    `problem` says what is wrong with a thing that is registered, in words that go on "it ", or None.

    >>> shapes = Registry[int]("chop.shapes", "shape")
    >>> _ = shapes.register("square", aliases=("box",))(4)
    >>> shapes["box"]
    4
    >>> shapes["sqare"]
    Traceback (most recent call last):
    chop.errors.UnknownNameError: unknown shape 'sqare'; did you mean 'square'? (known: square (box))
    """

    def __init__(
        self,
        group: str,
        noun: str,
        builtin_modules: tuple[str, ...] = (),
        problem: Callable[[Any], str | None] = lambda _: None,
    ) -> None:
        self.group = group
        self.noun = noun
        self._problem = problem
        self._builtin_modules = builtin_modules
        self._loaded_builtins = False
        self._items: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._plugins: dict[str, EntryPoint] | None = None
        self._broken: dict[str, str] = {}
        self.changes = 0
        """Rises whenever something is registered or forgotten: what was made of the things may be old then."""
        self._adopted: set[str] = set()

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[T], T]:
        """Return a decorator that binds its argument to `name` (and `aliases`); a name is bound once."""

        def bind(item: T) -> T:
            if problem := self._problem(item):
                raise ChopError(f"the {self.noun} '{name}' cannot be registered: it {problem}")
            for key in (name, *aliases):
                if key in self._items or key in self._aliases:
                    raise ChopError(f"the {self.noun} '{key}' is registered twice; choose another name")
            self._items[name] = item
            self.changes += 1
            self._aliases.update(dict.fromkeys(aliases, name))
            return item

        return bind

    def canonical(self, name: str) -> str:
        """The registered name for `name`, perhaps an alias; raises UnknownNameError."""
        self._load_builtins()
        resolved = self._aliases.get(name, name)
        if resolved in self._items or resolved in self._entry_points():
            return resolved
        raise self.unknown(name)

    def unknown(self, name: str, others: Mapping[str, Sequence[str]] | None = None) -> UnknownNameError:
        """The error of a name that is not registered; `others` are further names that are allowed, by their kind."""
        others = others or {}
        hint = did_you_mean(name, [*self.names(), *self._aliases, *chain.from_iterable(others.values())])
        known = [", ".join(map(self._with_short_name, sorted(self.working())))]
        known += [f"{kind}: {', '.join(names)}" for kind, names in others.items()]
        return UnknownNameError(f"unknown {self.noun} '{name}'{hint} (known: {'; '.join(known)})")

    def _with_short_name(self, name: str) -> str:
        """A name, with its shortest other spelling if that is shorter."""
        short = min(self.aliases_of(name), key=len, default=name)
        return f"{name} ({short})" if len(short) < len(name) else name

    def meant(self, name: str) -> str | None:
        """The registered name that `name` most likely means; None where none is like it."""
        near = nearest(name, [*self.names(), *self._aliases])
        return self.canonical(near) if near else None

    def names(self) -> list[str]:
        """All canonical names, sorted."""
        self._load_builtins()
        return sorted({*self._items, *self._entry_points()})

    def name_of(self, item: T) -> str:
        """The name under which `item` is registered; raises UnknownNameError if it is not."""
        self._load_builtins()
        for known in (self._items, self.working()):
            for name, own in known.items():
                if own is item:
                    return name
        raise UnknownNameError(f"{item!r} is not registered as a {self.noun}")

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Context that forgets at its end what was registered within it, for tests."""
        self._load_builtins()
        before = dict(self._items), dict(self._aliases), self._plugins, dict(self._broken), set(self._adopted)
        try:
            yield
        finally:
            self._items, self._aliases, self._plugins, self._broken, self._adopted = before
            self.changes += 1

    def adopt(self, item: T, name: str) -> str:
        """The registered name of `item`; an unregistered one is registered as `name`.

        Another item that was adopted under that name gives way to it: a cell of a notebook that is run again defines
        its class anew. Raises ChopError for a name that anything else is registered under.
        """
        with suppress(UnknownNameError):
            return self.name_of(item)
        if name in self and name not in self._adopted:
            raise ChopError(f"there is a {self.noun} '{name}' already: give yours another name")
        self._items.pop(name, None)
        self.register(name)(item)
        self._adopted.add(name)
        return name

    def aliases_of(self, name: str) -> list[str]:
        """The other spellings of a canonical name, sorted."""
        self._load_builtins()
        return sorted(alias for alias, target in self._aliases.items() if target == name)

    def working(self) -> dict[str, T]:
        """Everything that can be loaded, by name; broken plug-ins are skipped."""
        self._load_builtins()
        for name in self._entry_points().keys() - self._items.keys():
            with suppress(ChopError):
                self._load_plugin(name)
        return {name: self._items[name] for name in self.names() if name in self._items}

    def broken(self) -> dict[str, str]:
        """The error of each plug-in that cannot be loaded, by name."""
        self.working()
        return {name: self._broken[name] for name in self.names() if name in self._broken}

    def __getitem__(self, name: str) -> T:
        resolved = self.canonical(name)
        if resolved not in self._items:
            self._load_plugin(resolved)
        return self._items[resolved]

    def __contains__(self, name: object) -> bool:
        self._load_builtins()
        return name in self._items or name in self._aliases or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _load_builtins(self) -> None:
        if not self._loaded_builtins:
            self._loaded_builtins = True
            for module in self._builtin_modules:
                import_module(module)

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._plugins is None:
            self._plugins = {point.name: point for point in entry_points(group=self.group)}
        return self._plugins

    def _load_plugin(self, name: str) -> None:
        if name in self._broken:
            raise ChopError(self._broken[name])
        point = self._entry_points()[name]
        package = point.dist.name if point.dist else point.value
        try:
            item = _loaded_silently(point)
            if problem := self._problem(item):
                raise TypeError(f"it {problem}")
        except (Exception, SystemExit) as error:
            self._broken[name] = (
                f"the {self.noun} '{name}' of package '{package}' cannot be loaded "
                f"({type(error).__name__}: {error}{_place(error)}); update or remove that package"
            )
            raise ChopError(self._broken[name]) from error
        self._items.setdefault(name, item)
        self.changes += 1


def has_plugins() -> bool:
    """Whether an installed package adds anything to `chop`."""
    return any(group.startswith("chop.") for group in entry_points().groups)


def _loaded_silently(point: EntryPoint) -> Any:
    """The object of an entry point; what its package prints when it is imported goes to the log."""
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            return point.load()
    finally:
        if text := printed.getvalue().strip():
            logger.info("'%s' printed when it was imported: %s", point.value, text)


def _place(error: BaseException) -> str:
    """The file and line of a package that raised an error; empty if the import itself did."""
    frames = [(Path(frame.filename), frame.lineno) for frame in extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.is_file() and file != Path(__file__)]
    outside = [(file, line) for file, line in own if "importlib" not in file.parts]
    return f", in {outside[-1][0]}:{outside[-1][1]}" if outside else ""


def subclass_problem(base: type, *dataclasses: str) -> Callable[[Any], str | None]:
    """A check for a registry of classes: a subclass of `base`, whose attributes `dataclasses` are dataclasses."""

    def problem(item: Any) -> str | None:
        if not (isinstance(item, type) and issubclass(item, base)):
            return f"is no subclass of {base.__name__}"
        return next(
            (f"has {own} that is no dataclass" for own in dataclasses if not is_dataclass(getattr(item, own))), None
        )

    return problem
