"""Nothing that two servers said they had is lost, whatever happens to servers and connections; lies are noticed."""

from tests.support import chaos


async def test_nothing_is_lost_that_two_servers_acknowledged_and_who_hides_it_is_found_out(tmp_path):
    figures = await chaos.run(tmp_path, seconds=8, seed=1)

    assert figures["acknowledged by two servers"].value > 0
    assert figures["of them lost"].value == 0
    assert figures["of them noticed"].value == figures["hidden by a lying server"].value > 0
