"""One module a page: load, check the form if there is one, and say which template shows it."""
