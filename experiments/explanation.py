"""What `experiments.why` is told about two variants, and what it answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from core.bundle import Precision
from core.layers import LayerProfile, sum_ms
from experiments.peaks import Peaks


class Measured(BaseModel):
    """One variant: its latency, and where its time goes."""

    model_config = ConfigDict(frozen=True)

    title: str
    """What was done, without the runtime: `FP32`, `INT8`, `Pruned 50 %`."""
    runtime: str
    """Title of the runtime."""
    precision: Precision
    p50_ms: float
    macs: int
    """Of the network, for one image."""
    profile: LayerProfile
    peaks: Peaks | None = None
    """Of its runtime on its device; without them nothing is said about what the hardware could do."""
    sparsity: float = 0.0
    """Share of weights that are zero."""
    techniques: tuple[str, ...] = ()
    """Keys, in the order in which they were applied."""
    may_skip_zeros: bool = False
    """Whether its engine has kernels there that skip zeros in this pattern, so that none can be called lost time."""
    p50_interval_ms: tuple[float, float] | None = None
    """95 % interval of the median."""

    @property
    def rate_macs_per_s(self) -> float | None:
        """Multiplications per second of the layers that multiply; None where the engine does not count them."""
        layers_ms = sum_ms(self.profile.of("compute"))
        return 1000 * self.profile.macs / layers_ms if self.profile.macs and layers_ms else None

    @property
    def peak_macs_per_s(self) -> float | None:
        """What its runtime reaches in its precision when it is well fed, and no less than it reaches here.

        None where that was not probed.
        """
        probed = self.peaks.rate(self.precision, self.profile.layers) if self.peaks else None
        return max(probed, self.rate_macs_per_s or 0.0) if probed else None


class Cause(BaseModel):
    """One bar between what arithmetic promises and what was measured."""

    model_config = ConfigDict(frozen=True)

    key: str
    title: str
    ms: float
    """Lost if positive, gained if negative."""
    sentence: str
    setting: str = ""
    """What would change it: `technique.field`, `measurement.batch_size`, `runtime`, `device`; empty for nothing."""


class Explanation(BaseModel):
    """Why a variant is as fast as it is: `ideal_ms`, the causes and the residual sum to `measured_ms`."""

    model_config = ConfigDict(frozen=True)

    reference_title: str
    variant_title: str
    reference_ms: float
    """What the ideal is counted from: the reference, or the same runtime's FP32 where the runtime changed too."""
    ideal_ms: float
    """The reference, if all of its time shrank as its multiplications promise."""
    measured_ms: float
    promise: str
    """One sentence: where the ideal comes from."""
    causes: tuple[Cause, ...]
    """Zeros first, then the largest loss first and the gains last; what is small is one cause at the end."""
    residual: Cause
    """Between the calls that were timed and those that were profiled."""
    verdict: str
    runtime: Cause | None = None
    """What the runtime alone changed, from `baseline_ms` to `reference_ms`; not one of the causes."""
    baseline_title: str = ""
    baseline_ms: float | None = None

    @property
    def ideal_speedup(self) -> float:
        """How many times faster the arithmetic promises."""
        return self.reference_ms / self.ideal_ms

    @property
    def measured_speedup(self) -> float:
        """How many times faster it is."""
        return self.reference_ms / self.measured_ms

    @property
    def residual_ms(self) -> float:
        """The residual's time."""
        return self.residual.ms

    def cause(self, key: str) -> Cause | None:
        """The cause of that key, or None where it is no cause here."""
        return next((cause for cause in self.causes if cause.key == key), None)
