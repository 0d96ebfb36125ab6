"""Where each layer of a profile belongs in the network, and which of its blocks take what. Plain paths and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile

from core.anatomy import Anatomy
from core.layers import FUSED, Layer, LayerProfile

Path = tuple[str, ...]
"""`("features", "3", "conv1")`."""
CONTAINER = 0.8
"""A module that holds at least this share is looked into, so that blocks are named and not what holds all of them."""


def modules_of(profile: LayerProfile, anatomy: Anatomy | None) -> tuple[tuple[str, ...], ...]:
    """Names of the modules that each layer was made from: several where layers were fused, none for an operation.

    Exporters rename some weights, and engines then tell the name of a node instead. Such a layer is taken for the next
    module, in the order of execution, that multiplies as much, weights included; never for one that is named elsewhere.
    """
    if anatomy is None:
        return tuple(_named_by_looks(layer) for layer in profile.layers)
    known = {module.name for module in anatomy.modules if module.name}
    told = [tuple(name for name in layer.name.split(FUSED) if name in known) for layer in profile.layers]
    return tuple(_in_order(profile, anatomy, told))


def with_module_names(profile: LayerProfile, anatomy: Anatomy | None) -> LayerProfile:
    """The same, layers that bear the name of an exporter's node called by their modules as far as these are known."""
    if anatomy is None:
        return profile
    layers = [
        layer if not names or set(names) & set(layer.name.split(FUSED)) else layer.model_copy(
            update={"name": FUSED.join(names)}
        )
        for layer, names in zip(profile.layers, modules_of(profile, anatomy), strict=True)
    ]  # fmt: skip
    return profile.model_copy(update={"layers": tuple(layers)})


def module_paths(profile: LayerProfile, anatomy: Anatomy | None) -> tuple[Path, ...]:
    """The module of each layer, empty for the network's own operations.

    A fused layer belongs to the first of its modules. An operation that bears no module's name, such as an addition,
    belongs to the innermost module that holds the named ones before and after it.
    """
    own = [tuple(names[0].split(".")) if names else None for names in modules_of(profile, anatomy)]
    before, after = _nearest(own), _nearest(own[::-1])[::-1]
    return tuple(path if path is not None else shared(before[place], after[place]) for place, path in enumerate(own))


def shared(first: Path, second: Path) -> Path:
    """The beginning that both paths have in common."""
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def leaves(layers: Sequence[Layer], paths: Sequence[Path]) -> tuple[Path, ...]:
    """A place for each layer: its module where it is all that the module holds, else its operation below the module.

    Operations that are alike in the same module share a place, which says how many they are.
    """
    held = Counter(path[:end] for path in paths for end in range(len(path) + 1))
    named = [path if held[path] == 1 and path else (*path, layer.op) for layer, path in zip(layers, paths, strict=True)]
    repeated = Counter(named)
    return tuple((*each[:-1], f"{each[-1]} ×{repeated[each]}") if repeated[each] > 1 else each for each in named)


def blocks(paths: Sequence[Path], values: Sequence[float]) -> dict[str, float]:
    """What each block has of the values, the largest first, by dotted name; `""` for what is outside of any.

    Blocks are the modules below the innermost one that holds nearly everything.
    """
    inside = _container(paths, values)
    found: dict[str, float] = {}
    for path, value in zip(paths, values, strict=True):
        name = ".".join(path[: len(inside) + 1] if path[: len(inside)] == inside else path[:1])
        found[name] = found.get(name, 0.0) + value
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def fewest(values: Iterable[float], share: float = 0.5) -> int:
    """How many of the largest values make up at least that share of all of them."""
    ordered = sorted(values, reverse=True)
    total, reached = sum(ordered), 0.0
    for count, value in enumerate(ordered, start=1):
        reached += value
        if reached >= share * total:
            return count
    return 0


def _container(paths: Sequence[Path], values: Sequence[float]) -> Path:
    """The innermost module that holds nearly everything and more than one module."""
    inside: Path = ()
    while True:
        children = _children(inside, paths, values)
        if not children:
            return inside[:-1]
        largest = max(children, key=children.__getitem__)
        if children[largest] < CONTAINER * sum(values) or not _children((*inside, largest), paths, values):
            return inside
        inside = (*inside, largest)


def _children(inside: Path, paths: Sequence[Path], values: Sequence[float]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for path, value in zip(paths, values, strict=True):
        if len(path) > len(inside) and path[: len(inside)] == inside:
            found[path[len(inside)]] = found.get(path[len(inside)], 0.0) + value
    return found


def _named_by_looks(layer: Layer) -> tuple[str, ...]:
    """Without the network's own names: what has a dot, or weights and no name that an exporter made up."""
    names = layer.name.split(FUSED)
    if "/" in names[0] or names[0].startswith(("node_", "aten")):
        return ()
    return tuple(names) if "." in names[0] or layer.weight_bytes > 0 else ()


def _in_order(profile: LayerProfile, anatomy: Anatomy, told: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """What is told, and for layers with weights of which nothing is, the next module that fits."""
    places = {module.name: place for place, module in enumerate(anatomy.modules)}
    taken = {name for names in told for name in names}
    reached = 0
    for layer, names in zip(profile.layers, told, strict=True):
        if not names and layer.weight_bytes and layer.macs:
            found = (
                module.name for module in anatomy.modules[reached:]
                if module.parameters and module.name not in taken
                and module.macs * profile.batch_size == layer.macs
            )  # fmt: skip
            names = tuple(islice(found, 1))
        reached = max([reached, *(places[name] + 1 for name in names)])
        yield names


def _nearest(own: Sequence[Path | None]) -> list[Path]:
    """The last path that is known at each place; empty before the first one."""
    found: list[Path] = []
    for path in own:
        found.append(path if path is not None else found[-1] if found else ())
    return found
