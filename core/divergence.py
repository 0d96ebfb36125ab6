"""Where an artifact stops computing what its source network computes: plain data for the result and the pages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_JUMP = 2.0
"""A tensor that is not at least so many times as wrong as the worst one before it only carries on what came before."""
_WORTH_NAMING = 3


class Comparison(BaseModel):
    """One intermediate tensor as the engine computes it, beside the same tensor of the source network."""

    model_config = ConfigDict(frozen=True)

    tensor: str
    module: str
    """The module of the source network that computes it; empty for the network itself."""
    relative: float | None
    """Root mean square of the difference over that of the source's values; None where the engine's are not finite."""
    diverges: bool
    """Whether it differs by more than the tolerance."""


class Divergence(BaseModel):
    """The first tensor that differs by more than the tolerance while every one it is computed from does not."""

    model_config = ConfigDict(frozen=True)

    images: int
    tolerance: float
    """Largest `relative` that the precision explains."""
    comparable: int
    """Tensors that both the engine and the source network have."""
    probed: tuple[Comparison, ...]
    """Those that the engine was asked for, in the order of the network."""
    tensor: str = ""
    """Empty where none exceeds the tolerance."""
    op: str = ""
    """What computes it in the source network: `aten.conv2d`."""
    layers: tuple[str, ...] = ()
    """Modules that lie between `clean_before` and the tensor: those with parameters, where there are any."""
    clean_before: tuple[str, ...] = ()
    """The nearest tensors before it that the engine has; empty where it is computed from the input alone."""

    @property
    def relative(self) -> float | None:
        """Of the first diverging tensor, or of the worst one where none diverges; None where it is not finite."""
        return self._of(self.tensor).relative if self.tensor else self.largest.relative

    @property
    def largest(self) -> Comparison:
        """The tensor with the largest difference; one that is not finite counts as larger than any other."""
        return max(self.probed, key=lambda each: float("inf") if each.relative is None else each.relative)

    @property
    def is_gradual(self) -> bool:
        """Whether what comes before the tensor is already nearly as wrong, so that no layer stands out."""
        before = [each.relative for each in self.probed if each.tensor in self.clean_before and each.relative]
        return bool(before) and self.relative is not None and self.relative < _JUMP * max(before)

    @property
    def verdict(self) -> str:
        """One or two sentences on where it begins."""
        on = f"on {self.images} images"
        if not self.tensor:
            return (
                f"No single layer stands out: {on}, none of {len(self.probed)} intermediate results differs by more "
                f"than {_percent(self.tolerance)}; the largest difference is {_percent(self.largest.relative)}, at "
                f"{_place(self.largest)}. What differs at the end adds up from small differences."
            )
        if self.relative is None:
            return f"{self._named} gives values that are not finite {on}, while everything before it does not."
        what = f"{_percent(self.relative)} {on}, where {_percent(self.tolerance)} would be explained"
        if self.is_gradual:
            return f"The difference grows from layer to layer and becomes too large at {self._named}: {what}."
        return f"It begins at {self._named}: its result differs by {what}."

    @property
    def _named(self) -> str:
        named = ", ".join(self.layers[:_WORTH_NAMING]) or _place(self._of(self.tensor))
        more = len(self.layers) - _WORTH_NAMING
        return f"{named} and {more} more" if more > 0 else named

    def _of(self, tensor: str) -> Comparison:
        return next(each for each in self.probed if each.tensor == tensor)


def _place(comparison: Comparison) -> str:
    is_named_alike = comparison.module in ("", comparison.tensor)
    return comparison.tensor if is_named_alike else f"{comparison.tensor} in {comparison.module}"


def _percent(relative: float | None) -> str:
    """`1.5 %`; a relative difference that is not finite has no number."""
    return "not finite" if relative is None else f"{100 * relative:.3g} %"
