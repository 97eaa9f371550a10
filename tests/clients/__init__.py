import pytest

# So that a failed assertion there says its values.
pytest.register_assert_rewrite("clients.checks")
