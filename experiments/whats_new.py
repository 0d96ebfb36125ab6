"""What a newer version of a library would mean: decided from the installed, the tested and the accepted versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from experiments.libraries import Library, in_words, installed_version, read_requirement
from experiments.package_index import Offer

Kind = Literal["fits", "outside", "missing", "newest", "unknown"]


@dataclass(frozen=True)
class Consequence:
    """What follows from what the index offers of one library."""

    kind: Kind
    """A newer version `fits` the studio's range or lies `outside` of it; the library is `missing` here; the `newest`
    version is here; or all of that is `unknown`."""
    what: str
    """A sentence or two, with commands in markdown's code marks."""
    newest: str = ""
    """Version that the index offers; empty where it offers none or did not answer."""


def consequence(library: Library, offer: Offer) -> Consequence:
    """What the offer means for the library as it is installed here."""
    if offer.problem:
        return Consequence("unknown", offer.problem)
    if not offer.versions:
        return Consequence("unknown", "The index offers no version for this Python and platform.")
    newest, installed = plain(str(offer.versions[0])), library.installed
    if installed is None:
        return Consequence("missing", how_to_add(library), str(newest))
    here = plain(installed)
    if here >= newest:
        return Consequence("newest", "Nothing newer." if here == newest else "Newer than the index has.", str(newest))
    fitting = next((each for each in offer.versions if each > here and each in library.range), None)
    if newest == fitting:
        return Consequence("fits", f"{_within(library.range)} {_tried(library, newest)}", str(newest))
    also = f" {fitting} is within it. {_tried(library, fitting)}" if fitting else ""
    what = f"{_bounds(library.range)}: wait for a release of the studio that takes {newest}.{also}"
    return Consequence("outside", what, str(newest))


def plain(version: str) -> Version:
    """The version without its local part: what is built for CUDA counts as the same version as what is not."""
    return Version(Version(version).public)


def how_to_add(library: Library) -> str:
    """What to say of a library that is not here: the command that brings it, or what stands in its place."""
    if library.replaced_by and installed_version(library.replaced_by):
        words = f"Not installed: {library.replaced_by} is in its place."
        return words if library.is_ordinary else f"{words} To change that: `{library.install}`."
    return f"Not installed. To add it: `{library.install}`."


def who_refuses(name: str, newer: Version) -> tuple[str, ...]:
    """Installed distributions whose own requirements exclude that version, each with its version and what it takes."""
    refusing = (
        f"{each.name} {each.version} takes `{in_words(requirement.specifier)}`"
        for each in distributions()
        for requirement in _requirements_for(name, each)
        if newer not in requirement.specifier
    )
    return tuple(dict.fromkeys(refusing))


def _requirements_for(name: str, distribution: Distribution) -> Iterable[Requirement]:
    wanted = canonicalize_name(name)
    for line in distribution.requires or ():
        if not canonicalize_name(line).startswith(wanted):  # spares parsing a thousand lines
            continue
        requirement = read_requirement(line)
        if requirement is None or canonicalize_name(requirement.name) != wanted:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _tried(library: Library, newer: Version) -> str:
    """What the tests say of that version, who else stands in its way, and how to try it."""
    tested = library.tested
    if tested is None:
        words = "The tests run without this library."
    elif Version(tested) == newer:
        words = "The tests ran on it."
    else:
        words = f"Not tested: the tests ran on {tested}, which the studio installs."
    if refusing := who_refuses(library.name, newer):
        return f"{words} It cannot move alone: {', '.join(refusing)}."
    return f"{words} To try it: `pip install {library.name}=={newer}`."


def _within(range_: SpecifierSet) -> str:
    words = in_words(range_)
    return f"Within the studio's range (`{words}`)." if words else "The studio's requirements set no bounds."


def _bounds(range_: SpecifierSet) -> str:
    """`The studio's requirements stop below 2.16`."""
    upper = [each.version for each in range_ if each.operator == "<"]
    return (
        f"The studio's requirements stop below {min(upper, key=Version)}"
        if upper
        else f"The studio takes `{in_words(range_)}`"
    )
