"""Configuration as inert, frozen data: read, checked, explained. Opens no socket, starts nothing."""
