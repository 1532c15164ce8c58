"""The replicated state: nodes, access control lists, watches, quotas. Pure."""
