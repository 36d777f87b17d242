"""A swarm on one virtual clock: the real store and the real sync code over a wire that a seed decides."""
