"""Nothing that two servers said they had is lost, whatever happens to servers and connections; lies are noticed."""

import pytest

from tests.support import chaos


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_that_two_servers_acknowledged_and_who_hides_it_is_found_out(tmp_path, seed):
    figures = await chaos.run(tmp_path, seconds=10, seed=seed)

    assert figures["acknowledged by two servers"].value > 0
    assert figures["of them lost"].value == 0
    assert figures["of them noticed"].value == figures["hidden by a lying server"].value > 0
