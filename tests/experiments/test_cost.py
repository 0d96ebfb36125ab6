from __future__ import annotations

import math

import pytest

from core.errors import BadInput
from experiments.cost import Price, cost_per_million, money


def test_a_million_images_of_one_joule_are_a_million_joules_at_the_price_of_a_kilowatt_hour() -> None:
    cost = cost_per_million(Price(0.30, "kwh", "EUR"), joules_per_image=3.6, images_per_s=None)
    assert cost.amount == pytest.approx(0.30)  # 3.6 MJ are one kilowatt-hour.
    assert cost.sentence == "€0.30 per million images, from the measured energy and €0.30 per kWh."


def test_a_rate_that_does_a_million_in_an_hour_costs_an_hour() -> None:
    cost = cost_per_million(Price(2.5, "hour"), joules_per_image=1.0, images_per_s=1_000_000 / 3600)
    assert cost.amount == pytest.approx(2.5)
    assert cost.sentence.startswith("$2.50 per million images, from the measured throughput and $2.50 per hour")


def test_entered_power_stands_in_for_energy_that_was_not_measured_and_is_named() -> None:
    price = Price(8, "kwh", "INR", watts=100)
    cost = cost_per_million(price, joules_per_image=math.nan, images_per_s=50)
    measured = cost_per_million(price, joules_per_image=100 / 50, images_per_s=50)
    assert cost.amount == pytest.approx(measured.amount)
    assert "the power you entered (100 W)" in cost.sentence
    assert "measured energy" in measured.sentence
    assert "entered" not in measured.sentence


@pytest.mark.parametrize(
    ("price", "images_per_s", "words"),
    [
        (Price(0.3, "kwh"), 50, "energy was not measured; enter the power"),
        (Price(0.3, "kwh", watts=65), None, "neither energy nor throughput"),
        (Price(0.3, "hour", watts=65), math.nan, "throughput was not measured"),
    ],
)
def test_what_cannot_be_computed_says_what_is_missing(price: Price, images_per_s: float | None, words: str) -> None:
    cost = cost_per_million(price, joules_per_image=None, images_per_s=images_per_s)
    assert cost.amount is None
    assert words in cost.sentence


@pytest.mark.parametrize("values", [{"amount": -1}, {"amount": math.nan}, {"watts": 0}, {"watts": math.inf}])
def test_a_price_that_is_none_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"nan|-1|0 W|inf W"):
        Price(**({"amount": 1.0, "per": "kwh"} | values))


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (1234.5, "USD", "$1,234.50"),
        (1234567.891, "EUR", "€1,234,567.89"),
        (1234567, "INR", "₹12,34,567.00"),
        (123456789, "INR", "₹12,34,56,789.00"),
        (999.999, "INR", "₹1,000.00"),
        (0.0042, "EUR", "€0.0042"),
        (0, "USD", "$0.00"),
        (-0.5, "USD", "-$0.50"),
    ],
)
def test_money_is_written_as_its_currency_is(amount: float, currency, shown: str) -> None:
    assert money(amount, currency) == shown
