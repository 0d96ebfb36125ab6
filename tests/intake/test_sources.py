"""Sources as an order brings them: nothing that is no item's id gets through."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from experiments.jobs import DataChoice
from intake.sources import Architecture, OnnxFile


@pytest.mark.parametrize("key", ["../../ada/items/0123456789ab", "0123456789ab/..", "0123456789AB", "0123456789ab\n"])
def test_what_is_no_id_of_an_item_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="item"):
        OnnxFile(item=key)
    with pytest.raises(ValidationError, match="weights"):
        Architecture(library="timm", name="resnet18", weights=key)
    with pytest.raises(ValidationError, match="item"):
        DataChoice(item=key)
