"""The fast fidelity tells what the full one would."""

from offchain.discovery.sim.agreement import TOLERANCE, compare


def test_both_fidelities_agree_on_a_small_network_in_every_figure_within_its_tolerance():
    figures = {name: (full, fast) for name, full, fast in compare(40, 1)}

    assert figures.keys() == TOLERANCE.keys()
    for name, (full, fast) in figures.items():
        assert full > 0, name
        assert abs(full - fast) <= TOLERANCE[name] * max(full, fast), (name, full, fast)
