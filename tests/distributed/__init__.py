"""The whole of LiteMaaS with every part more than once, and what its callers see when one of them fails."""
