"""Modules whose state contains the configuration it belongs to."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

_KEY = "_extra_state"  # where torch keeps ``get_extra_state``
_LONGEST = 60  # characters of a value in an error


class ConfiguredModule(nn.Module):
    """A module whose ``state_dict`` contains its configuration, and that refuses states of other configurations.

    Tensors of the same shapes may have another meaning in another configuration. The configuration is stored under
    ``_extra_state`` as a uint8 tensor of its JSON, which every checkpoint format supports. A state without one, as
    written by version 0.1.0, is refused, even with ``strict=False``.
    """

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """What the meaning of the state depends on, apart from the shapes of its tensors, as JSON values."""

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(json.dumps(self.configuration()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        pass  # compared in _load_from_state_dict, before any tensor is loaded

    def state_error(self, state_dict: dict[str, Any], prefix: str) -> str | None:
        """Why the tensors of this module in a state, with a prefix, must not be loaded; None if they may."""
        if prefix + _KEY not in state_dict:
            if not any(name.startswith(prefix) for name in state_dict):
                return None  # nothing of this module
            return (
                f"the state contains no configuration ({_KEY}; version 0.1.0 wrote none), so what its tensors mean is "
                f"unknown. If it belongs to this configuration, add the {_KEY} of this module's state_dict()"
            )
        try:
            stored = json.loads(bytes(state_dict[prefix + _KEY].to("cpu", torch.uint8).tolist()))
            found = dict(stored)
        except (AttributeError, TypeError, ValueError):
            return f"{_KEY} is not a configuration"
        own = json.loads(json.dumps(self.configuration()))
        names = [name for name in {**own, **found} if found.get(name) != own.get(name)]
        return f"the state is of {'; '.join(_difference(n, found, own) for n in names)}" if names else None

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if (error := self.state_error(state_dict, prefix)) is not None:
            where = f"{prefix.rstrip('.')} ({type(self).__name__})" if prefix else type(self).__name__
            error_msgs.append(f"{where}: {error}. Build the module with the configuration of the saved one.")
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _difference(name: str, found: dict[str, Any], own: dict[str, Any]) -> str:
    there, here = found.get(name), own.get(name)
    if isinstance(there, list) and isinstance(here, list) and sorted(map(str, there)) != sorted(map(str, here)):
        there, here = [x for x in there if x not in here], [x for x in here if x not in there]
    return f"{name} {_short(there)}, this one of {_short(here)}"


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
