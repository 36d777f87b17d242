"""Carries bytes between nodes: the libp2p daemon of hivemind, streams, gossip, and the DHT as an index."""
