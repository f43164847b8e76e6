"""An exception at lines that a turn executes; all of them: `python -m tests.torture driver`."""

import pytest
from torture import driver

_EVERY = 9

# the line that was to hand a coroutine to the loop may be the one that raises
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")


@pytest.mark.slow
@pytest.mark.parametrize("error", driver.ERRORS)
def test_whatever_line_raises_the_turn_is_answered_once_and_the_daemon_goes_on(error):
    chosen = driver.moments(seed=driver.ERRORS.index(error), each=1)
    assert len(chosen) > 1000
    for moment in chosen[::_EVERY]:
        driver.strike(moment, error)


def test_a_fault_strikes_the_line_that_was_chosen():
    chosen = driver.moments(each=1)
    assert driver.strike(chosen[len(chosen) // 2], OSError)
