"""What the page about Ray clusters compares."""

from benchmarks.ray_cluster import Turn, cores_of, efficiencies, order, tensors_digest


def test_ray_nodes_divide_the_cores_and_share_them_if_there_are_more():
    assert cores_of(1, [2, 5]) == ["2,5"]
    assert cores_of(2, [2, 5]) == ["2", "5"]
    assert cores_of(4, [2, 5]) == ["2", "5", "2", "5"]
    assert cores_of(2, [7]) == ["7", "7"]  # a host with one core


def test_one_and_two_ray_nodes_are_each_as_often_the_first():
    assert order(2, 8) == [1, 2, 2, 1, 4, 8]


def test_two_ray_nodes_are_compared_with_one_pair_by_pair():
    turns = [
        Turn(size=size, seconds=seconds, model="", dropped=0)
        for size, seconds in ((1, (3.0, 5.0)), (2, (4.0, 4.0)), (2, (8.0, 8.0)), (1, (6.0, 6.0)), (4, (9.0,)))
    ]
    assert efficiencies(turns) == [1.0, 0.75]


def test_models_of_different_runs_are_the_same_if_their_tensors_are():
    one, other = (len(head).to_bytes(8, "little") + head + b"tensors" for head in (b"{a}", b"{another}"))
    assert tensors_digest(one) == tensors_digest(other) != tensors_digest(one[:-1] + b"z")
