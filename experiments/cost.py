"""What a million images cost to classify, from a price that the user enters. Currencies are never converted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from core.errors import BadInput

Currency = Literal["USD", "INR", "EUR"]
SYMBOLS: dict[Currency, str] = {"USD": "$", "INR": "₹", "EUR": "€"}
MILLION = 1_000_000
JOULES_PER_KWH = 3_600_000
SECONDS_PER_HOUR = 3_600


@dataclass(frozen=True)
class Price:
    """What electricity or a machine costs. Raises `BadInput` for an amount below 0, or a power not above it."""

    amount: float
    per: Literal["kwh", "hour"]
    """A kilowatt-hour, or an hour of the machine."""
    currency: Currency = "USD"
    watts: float | None = None
    """Power of the machine under load as the user knows it, for variants whose energy was not measured."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0):
            raise BadInput(f"A price of {self.amount}", expected="0 or more", action="Enter what you pay")
        if self.watts is not None and not (math.isfinite(self.watts) and self.watts > 0):
            raise BadInput(f"A power of {self.watts} W", expected="more than 0 W", action="Enter it, or leave it out")


@dataclass(frozen=True)
class Cost:
    """What a million images cost, or why that is not known."""

    amount: float | None
    """In `currency`; None where it cannot be computed."""
    currency: Currency
    source: str
    """What the amount was computed from, or what is missing, as the end of a sentence."""

    @property
    def sentence(self) -> str:
        """`$0.42 per million images, from the measured energy and $0.30 per kWh.`"""
        if self.amount is None:
            return f"The cost per million images is not known: {self.source}."
        return f"{money(self.amount, self.currency)} per million images, from {self.source}."


def cost_per_million(price: Price, *, joules_per_image: float | None, images_per_s: float | None) -> Cost:
    """Electricity or machine time for a million images, one image an inference.

    A price per hour needs the throughput and takes the machine to be busy all the time. A price per kWh needs the
    measured energy, which is for electricity alone; without it the power that the user entered, divided by the
    throughput, takes its place and is named as such.
    """
    joules, rate = _known(joules_per_image), _known(images_per_s)
    if price.per == "hour":
        return _by_hour(price, rate)
    each_kwh = f"{money(price.amount, price.currency)} per kWh"
    if joules:
        amount = joules * MILLION / JOULES_PER_KWH * price.amount
        return Cost(amount, price.currency, f"the measured energy and {each_kwh}")
    if price.watts is None:
        return Cost(None, price.currency, "its energy was not measured; enter the power the machine draws")
    if not rate:
        return Cost(None, price.currency, "neither energy nor throughput was measured")
    amount = price.watts / rate * MILLION / JOULES_PER_KWH * price.amount
    source = f"the power you entered ({price.watts:g} W), the measured throughput and {each_kwh}"
    return Cost(amount, price.currency, source)


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _by_hour(price: Price, rate: float | None) -> Cost:
    if not rate:
        return Cost(None, price.currency, "its throughput was not measured")
    source = f"the measured throughput and {money(price.amount, price.currency)} per hour of a machine always busy"
    return Cost(MILLION / rate / SECONDS_PER_HOUR * price.amount, price.currency, source)


def money(amount: float, currency: Currency) -> str:
    """`$1,234.50`, `€0.0042`, `₹12,34,567.00`: two decimals, or two digits where these would show less."""
    decimals = 2 if amount == 0 or abs(amount) >= 0.1 else 1 - math.floor(math.log10(abs(amount)))
    whole, _, fraction = f"{abs(amount):.{decimals}f}".partition(".")
    sign = "-" if amount < 0 else ""
    return f"{sign}{SYMBOLS[currency]}{_grouped(whole, currency)}.{fraction}"


def _grouped(digits: str, currency: Currency) -> str:
    """Thousands apart; for rupees, the last three digits and then pairs."""
    if currency != "INR":
        return f"{int(digits):,}"
    head, tail = digits[:-3], digits[-3:]
    pairs = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return ",".join([*pairs, tail])
