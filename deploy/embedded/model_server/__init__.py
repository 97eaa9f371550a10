"""A small model server with OpenAI's API that responds, streams and counts tokens.

Directives in a prompt control the response (plan.py) and faults (faults.py). The record of what it
billed, the ground truth for the gateway's ledger, is read at `/_calls`.
"""
