"""Sparing LiteLLM its own price of each answer: ours comes from `models/prices.py`, in decimals.

LiteLLM (1.104) prices an answer before it returns it: a sixth of the CPU of a call, and no setting turns it off.
It takes the object that logs a call from whoever calls; ours is the one that it makes itself, but says that there is no
price. Until LiteLLM has such a setting. Nothing of LiteLLM is changed for others in the process.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_log = logging.getLogger(__name__)


def unpriced(litellm: ModuleType, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call whose answer LiteLLM does not price; unchanged where it has no such insides.

    Args:
        litellm: The module.
        arguments: Of `litellm.acompletion`; they are not changed.
    """
    try:
        utils = litellm.utils
        given = {**arguments, "litellm_call_id": str(uuid.uuid4())}
        logged, given = utils.function_setup("acompletion", utils.Rules(), datetime.now(), **given)
        if not callable(logged._response_cost_calculator):
            return arguments
        logged._response_cost_calculator = _no_price
    except (AttributeError, KeyError, TypeError) as error:
        _log.debug("LiteLLM prices its answers itself: %s", error)
        return arguments
    return {**given, "litellm_logging_obj": logged}


def _no_price(*_: object, **__: object) -> None:
    return None
