"""The mail server: keeps envelopes for people who are offline, relays them to trusted servers, answers requests."""
