"""Networks that a function of the machine's owner returns. It runs that function: never for what a browser names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from torch import nn

from core.errors import BadInput
from intake.preprocessing import Preprocessing
from intake.sources import Factory

_ACTION = "Correct the function, or what is said about it"


def made_by(source: Factory) -> tuple[nn.Module, Preprocessing | None]:
    """What the function returns: a module, and how its input is prepared where it says so.

    Its folder is put before all others that are imported from. Raises `BadInput` where it cannot be found, fails, or
    returns anything else.
    """
    function = _found(source)
    try:
        returned = function()
    except Exception as error:  # the function of somebody else may raise anything
        raise BadInput(f"{source.target} failed: {_named(error)}", action=_ACTION) from error
    network, wanted = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(network, nn.Module):
        raise BadInput(
            f"{source.target} returned a {type(network).__name__}",
            expected="a torch.nn.Module, alone or with a dict of its preprocessing: `return network, {...}`",
            action=_ACTION,
        )
    return network, None if wanted is None else _preprocessing(source, wanted)


def _found(source: Factory) -> Callable[[], Any]:
    module_name, _, name = source.target.partition(":")
    folder = str(source.path.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.split(".")[0] == error.name.split(".")[0]:
            raise BadInput(
                f"There is no module {module_name} in {folder}",
                expected="package.module:function, seen from that folder",
                action=_ACTION,
            ) from None
        raise BadInput(f"{module_name} imports {error.name}, which is not installed", action="Install it") from None
    except Exception as error:  # a module of somebody else's may raise anything
        raise BadInput(f"{module_name} could not be imported: {_named(error)}", action=_ACTION) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"{module_name} has no function {name}", action=_ACTION)
    called: Callable[[], Any] = function
    return called


def _preprocessing(source: Factory, wanted: Any) -> Preprocessing:
    try:
        return Preprocessing.model_validate({"source": f"the factory {source.target}"} | dict(wanted))
    except (ValidationError, TypeError, ValueError) as error:
        told = (
            "; ".join(f"{'.'.join(map(str, each['loc'])) or 'all'}: {each['msg']}" for each in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise BadInput(
            f"The preprocessing that {source.target} returned cannot be used ({told})",
            expected=f"a dict with any of {', '.join(sorted(Preprocessing.model_fields))}",
            action=_ACTION,
        ) from None


def _named(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
