"""The part of a node that talks with others, in a process of its own: who is there, what is new, who may join."""
