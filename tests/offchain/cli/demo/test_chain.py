"""When a block came, as seen by someone who keeps asking how high the chain is."""

from __future__ import annotations

from offchain.cli.demo.chain import Heights


def test_a_block_came_after_the_last_reading_without_it():
    heights = Heights()
    for height, asked in ((7, 1.0), (7, 1.5), (8, 2.0), (8, 2.5)):
        heights.read(height, asked)

    assert heights.before(8) == 1.5


def test_blocks_between_two_readings_all_came_after_the_first_of_them():
    heights = Heights()
    heights.read(7, 1.0)
    heights.read(9, 2.0)

    assert [heights.before(number) for number in (8, 9)] == [1.0, 1.0]


def test_nothing_is_known_of_blocks_before_the_first_reading_or_not_yet_there():
    heights = Heights()
    heights.read(7, 1.0)

    assert [heights.before(number) for number in (7, 8, None)] == [None, None, None]


def test_a_block_that_went_and_came_back_counts_from_when_it_first_came():
    heights = Heights()
    for height, asked in ((7, 1.0), (8, 2.0), (7, 3.0), (8, 4.0)):
        heights.read(height, asked)

    assert heights.before(8) == 1.0
