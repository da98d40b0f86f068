"""The enterprise portal: server-rendered pages over the same services that the API calls. Owns words and pages only."""
