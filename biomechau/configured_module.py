"""Modules whose state says which configuration it belongs to."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

_KEY = "_extra_state"  # where torch keeps ``get_extra_state``
_LONGEST = 60  # characters of a value in an error


class ConfiguredModule(nn.Module):
    """A module whose ``state_dict`` holds its configuration beside its tensors, and that loads no other.

    Tensors of the same shapes may mean something else in another configuration. It lies under ``_extra_state`` as the
    bytes of its JSON, a uint8 tensor, which every format of checkpoints can hold. A state without one, as version 0.1.0
    wrote them, is refused, also by ``strict=False``.
    """

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """What the meaning of the state depends on, beside the shapes of its tensors, as JSON knows it."""

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(json.dumps(self.configuration()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        pass  # compared in _load_from_state_dict, before any tensor is taken

    def state_error(self, state_dict: dict[str, Any], prefix: str) -> str | None:
        """Why the tensors of this module in a state, named with a prefix, are not to be loaded; None if they are."""
        if prefix + _KEY not in state_dict:
            if not any(name.startswith(prefix) for name in state_dict):
                return None  # nothing of this module
            return (
                f"the state holds no configuration ({_KEY}; version 0.1.0 wrote none), so that nobody can tell what "
                f"its tensors mean. Where it is that of this module, add the {_KEY} of its own state_dict()"
            )
        try:
            stored = json.loads(bytes(state_dict[prefix + _KEY].to("cpu", torch.uint8).tolist()))
            found = dict(stored)
        except (AttributeError, TypeError, ValueError):
            return f"{_KEY} does not hold a configuration"
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
            error_msgs.append(f"{where}: {error}. Build it as the one was built that the state was saved of.")
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
