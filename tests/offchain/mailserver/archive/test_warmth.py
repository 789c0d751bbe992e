from offchain.mailserver.archive.warmth import COLD_FOR, FAULTS, Warmth, page_faults


def test_is_warm_until_the_disk_was_waited_for():
    warmth = Warmth()

    warmth.note(FAULTS - 1, 10.0)

    assert not warmth.is_cold(10.0)


def test_is_cold_for_a_while_after_the_disk_was_waited_for():
    warmth = Warmth()
    warmth.note(FAULTS, 10.0)

    warmth.note(0, 11.0)

    assert warmth.is_cold(10.0 + COLD_FOR - 0.1)
    assert not warmth.is_cold(10.0 + COLD_FOR)


def test_page_faults_are_counted():
    assert page_faults() >= 0
