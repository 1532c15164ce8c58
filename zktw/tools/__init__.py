"""The zktw command, a file a subcommand."""
