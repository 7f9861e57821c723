import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import PopulationIndex


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.data())
def test_every_drawn_speaker_is_found_once_on_the_node_that_holds_it(counts, data):
    population_index = PopulationIndex.of({100 + node: count for node, count in enumerate(counts)})
    drawn = sorted(data.draw(st.sets(st.integers(0, population_index.population - 1))))

    located = population_index.locate(np.array(drawn, dtype=np.int64))

    starts = dict(zip(population_index.nodes, np.cumsum([0, *population_index.counts[:-1]]), strict=True))
    back = sorted(starts[node] + number for node, numbers in located.items() for number in numbers)
    assert back == drawn
    assert all(numbers for numbers in located.values())
    assert all(max(numbers) < counts[node - 100] for node, numbers in located.items())


def test_a_node_without_speakers_is_refused_by_name():
    with pytest.raises(ValueError, match="node 7 holds 0 speakers"):
        PopulationIndex.of({3: 2, 7: 0})
