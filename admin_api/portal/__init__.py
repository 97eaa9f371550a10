"""The portal: pages for people with a browser. An adapter over the operations, as `routes/` and `cli/` are."""
