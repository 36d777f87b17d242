"""Makes two replicas equal over a stream, at a cost of what differs; speaks no network library."""
