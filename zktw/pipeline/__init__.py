"""What happens to a request, from check to reply. Pure."""
