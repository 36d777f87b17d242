"""Proposers: what to try next. Only `base` is imported here; the others load what they need when they are named."""

from experiments.proposers.base import Context, Idea, Proposal, Proposer, Trial, load

__all__ = ["Context", "Idea", "Proposal", "Proposer", "Trial", "load"]
