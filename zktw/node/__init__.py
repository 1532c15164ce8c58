"""Assembly: the peer, its roles, and the service tree that twistd runs."""
