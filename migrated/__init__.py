"""Process migration: survey, commit protocol, CRIU, deputy, jail, relays, MFS."""
