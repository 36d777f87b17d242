"""A light client on py-libp2p: follows a network from a laptop, without a node, hivemind or torch."""
