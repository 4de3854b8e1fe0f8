"""Every formulation of every op, ours first; and the one that answers are checked against, in float64."""

from collections.abc import Callable

from problems import Problem

from peers import chebyshev_conv, explicit_rollout, force_projection, generalized_mass, implicit_rollout
from peers.adapters import Peer as Peer, Runnable as Runnable

PEERS: dict[str, tuple[Peer, ...]] = {
    "force_projection": force_projection.PEERS,
    "generalized_mass": generalized_mass.PEERS,
    "explicit_rollout": explicit_rollout.PEERS,
    "implicit_rollout": implicit_rollout.PEERS,
    "decoder": implicit_rollout.PEERS,
    "chebyshev_conv": chebyshev_conv.PEERS,
}

REFERENCES: dict[str, Callable[[Problem], Runnable]] = {
    "force_projection": force_projection.reference_peer,
    "generalized_mass": generalized_mass.reference_peer,
    "explicit_rollout": explicit_rollout.reference_peer,
    "implicit_rollout": implicit_rollout.reference_peer,
    "decoder": implicit_rollout.reference_peer,
    "chebyshev_conv": chebyshev_conv.reference_peer,
}
