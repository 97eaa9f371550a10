"""A small model server in OpenAI's shape that answers, streams and counts honestly.

What a call asks for by directives in its prompt is in plan.py, its faults in faults.py. Its own
count of what it billed, the ground truth for the gateway's ledger, is read at `/_calls`.
"""
