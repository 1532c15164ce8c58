"""Who counts: the ensemble, its quorums, the election."""
