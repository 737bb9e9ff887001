"""A missing extra is one line that says what to install."""

import sys

import pytest

from dacformer.errors import UserError
from dacformer.extras import require_extra


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(UserError) as refused, require_extra("live"):
        import a_package_that_nobody_has  # pyright: ignore[reportMissingImports] # noqa: F401
    assert str(refused.value) == (
        'This needs a_package_that_nobody_has, which is not installed: pip install "dacformer[live]"'
    )
    assert refused.value.__suppress_context__


def test_installed_package_passes() -> None:
    with require_extra("notebook"):
        import json
    assert json is sys.modules["json"]


def test_missing_module_of_our_own_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"dacformer\.nowhere"), require_extra("notebook"):
        import dacformer.nowhere  # pyright: ignore[reportMissingImports] # noqa: F401


def test_other_import_errors_pass_through() -> None:
    with pytest.raises(ImportError, match="no_such_name"), require_extra("eval"):
        from json import no_such_name  # pyright: ignore[reportAttributeAccessIssue] # noqa: F401
