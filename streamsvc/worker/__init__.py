"""One device: ring -> dispatcher -> stages -> ring. A process of its own, started by `fleet`."""
