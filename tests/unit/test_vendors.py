"""How a vendor is imported."""

from __future__ import annotations

import gc
import os
import warnings

import pytest

from quarterdeck import vendors


def test_nothing_is_collected_or_warned_of_while_a_vendor_is_imported() -> None:
    assert gc.isenabled()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with vendors.importing():
            assert not gc.isenabled()
            assert os.environ["CREWAI_DISABLE_TELEMETRY"] == "true"
            warnings.warn("an old name", DeprecationWarning, stacklevel=1)
    assert gc.isenabled() and not seen


def test_the_collector_comes_back_when_an_import_fails() -> None:
    with pytest.raises(ImportError), vendors.importing():
        raise ImportError("not installed")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with vendors.importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
