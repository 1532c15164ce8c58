"""Files: epochs, snapshots, the journal thread."""
