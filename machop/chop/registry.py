"""One registry type for everything that users choose by name and plug-ins may add.

A registry is filled by a decorator, by lazily imported built-ins (so that listing names costs no import) and by
entry points of the group `chop.<plural>`. A broken third-party plug-in fails only when its own name is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from chop.errors import ChopError, UnknownNameError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing (`noun`), each bound to an object or to the module that registers it.

    >>> shapes = Registry[int]("chop.shapes", "shape")
    >>> _ = shapes.register("square", aliases=("box",))(4)
    >>> shapes["box"]
    4
    >>> shapes["sqare"]
    Traceback (most recent call last):
    chop.errors.UnknownNameError: unknown shape 'sqare'; did you mean 'square'? (known: square)
    """

    def __init__(self, group: str, noun: str, builtin_modules: tuple[str, ...] = ()) -> None:
        self.group = group
        self.noun = noun
        self._builtin_modules = builtin_modules
        self._loaded_builtins = False
        self._items: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._plugins: dict[str, EntryPoint] | None = None

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[T], T]:
        """Return a decorator that binds its argument to `name` (and `aliases`); a name is bound once."""

        def bind(item: T) -> T:
            for key in (name, *aliases):
                if key in self._items or key in self._aliases:
                    raise ChopError(f"the {self.noun} '{key}' is registered twice; choose another name")
            self._items[name] = item
            self._aliases.update(dict.fromkeys(aliases, name))
            return item

        return bind

    def canonical(self, name: str) -> str:
        """The registered name that `name` (perhaps an alias) stands for; raises UnknownNameError."""
        self._load_builtins()
        resolved = self._aliases.get(name, name)
        if resolved in self._items or resolved in self._entry_points():
            return resolved
        hint = did_you_mean(name, [*self.names(), *self._aliases])
        raise UnknownNameError(f"unknown {self.noun} '{name}'{hint} (known: {', '.join(self.names())})")

    def names(self) -> list[str]:
        """All canonical names, sorted."""
        self._load_builtins()
        return sorted({*self._items, *self._entry_points()})

    def aliases_of(self, name: str) -> list[str]:
        """The other spellings of a canonical name, sorted."""
        self._load_builtins()
        return sorted(alias for alias, target in self._aliases.items() if target == name)

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
        point = self._entry_points()[name]
        package = point.dist.name if point.dist else point.value
        try:
            item = point.load()
        except Exception as error:
            raise ChopError(
                f"the {self.noun} '{name}' of package '{package}' cannot be loaded "
                f"({type(error).__name__}: {error}); update or remove that package"
            ) from error
        self._items.setdefault(name, item)
