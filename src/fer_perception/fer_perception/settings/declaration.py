"""How a setting is declared, and what can be asked of a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_perception.errors import FerError

Value = bool | int | float | str
Changes = Literal["start", "unconfigured", "always"]


def setting(
    default: Value,
    description: str,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    changes: Changes = "unconfigured",
) -> Any:
    """A field of a settings model; its type is the annotation's.

    :param low: the least value that is allowed; both ``low`` and ``high``, or none.
    :param changes: ``start``: fixed by what a node is started with; ``unconfigured``: read by the transition configure
        and refused until cleanup; ``always``: takes effect with the next image.
    """
    extra: dict[str, Any] = {"unit": unit, "changes": changes}
    return Field(default, ge=low, le=high, description=description, json_schema_extra=extra)


class Settings(BaseModel):
    """The base of all settings models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Setting:
    """One setting as it is declared. ``bounds``: both included; ``choices``: of one that has only some values."""

    name: str
    default: Value
    description: str
    unit: str
    bounds: tuple[float, float] | None
    choices: tuple[Value, ...]
    changes: Changes

    @property
    def allowed(self) -> str:
        """The values it takes, in words; empty where the type says all."""
        if self.bounds:
            return " ".join(filter(None, (f"{self.bounds[0]:.10g} to {self.bounds[1]:.10g}", self.unit)))
        return ", ".join(map(str, self.choices))

    @property
    def default_text(self) -> str:
        """The default as ROS writes it."""
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default) or "(empty)"

    def problem(self, value: object) -> str:
        """Why a value is refused; empty where it is allowed. The type is not looked at."""
        if self.choices and value not in self.choices:
            return f"parameter {self.name} is '{value}': use one of {self.allowed}"
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:  # type: ignore[operator]
            return f"parameter {self.name} is {value}: use {self.allowed}"
        return ""

    def documentation(self) -> list[str]:
        """Cells of its row in docs/parameters.md."""
        return [f"`{self.name}`", f"`{self.default_text}`", self.allowed, self.changes, self.description]


def settings_of(model: type[Settings]) -> dict[str, Setting]:
    """The settings of a model by name, in its order; nested ones with a dot."""
    found: dict[str, Setting] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            for inner in settings_of(field.annotation).values():
                found[f"{name}.{inner.name}"] = replace(inner, name=f"{name}.{inner.name}")
            continue
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        bounds = [limit for item in field.metadata for limit in (getattr(item, "ge", None), getattr(item, "le", None))]
        limits = [limit for limit in bounds if limit is not None]
        choices = () if isinstance(field.annotation, type) else get_args(field.annotation)
        found[name] = Setting(
            name,
            field.default,
            field.description or "",
            str(extra["unit"]),
            (limits[0], limits[1]) if limits else None,
            choices,
            extra["changes"],  # type: ignore[arg-type]
        )
    return found


Model = TypeVar("Model", bound=Settings)


def from_values(model: type[Model], values: Mapping[str, Value]) -> Model:
    """Settings from values by name; missing ones have their defaults.

    :raises FerError: a name is not known, or a value is not allowed.
    """
    nested: dict[str, Any] = {}
    for name, value in values.items():
        outer, _, inner = name.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            nested[outer] = value
    try:
        return model.model_validate(nested)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, details['loc']))}: {details['msg']}" for details in error.errors())
        raise FerError("; ".join(problems)) from error


def values_of(settings: Settings) -> dict[str, Value]:
    """The values of settings by name."""
    found: dict[str, Value] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Settings):
            found |= {f"{name}.{inner}": inner_value for inner, inner_value in values_of(value).items()}
        else:
            found[name] = value
    return found


def with_default(model: type[Settings], name: str, default: Value) -> Any:
    """A field like one of another model, with another default."""
    declared = settings_of(model)[name]
    low, high = declared.bounds or (None, None)
    return setting(default, declared.description, low, high, declared.unit, declared.changes)
