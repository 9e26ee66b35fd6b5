"""The original process at home while its body is away: hollowing, channel, refilling."""
