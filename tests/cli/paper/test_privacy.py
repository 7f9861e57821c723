"""`murmur paper privacy`: the paper's epsilons are reproduced, and its typing errors are named."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.paper.epsilon_rows import epsilon_rows
from cli.paper.privacy import lines
from cli.paper.recomputed import TOLERANCE, Recomputed
from privacy.accounting.epsilon import Release, rdp_epsilon
from recipes import checkout
from tests.privacy.paper_rows import golden_of

POPULATIONS = {"cv-en": 34_753, "cv-fr-90": 6_171, "cv-de-90": 6_415}  # Table 2


@pytest.fixture(scope="module")
def found():
    return [Recomputed.of(row, pld=False) for row in epsilon_rows()]


def test_the_data_is_the_papers(found):
    assert [len([one for one in found if one.row.table == table]) for table in (1, 17, 18, 20)] == [
        19,
        22,
        14,
        3,
    ]
    for one in found:
        row = one.row.corrected
        assert row.noise_multiplier == pytest.approx(row.sigma * 1e-6 * row.cohort, rel=1e-12)
        assert (row.trained().cohort, row.trained().population) == (1024, POPULATIONS[row.data])


def test_every_row_is_that_of_an_independent_computation(found):
    for one in found:
        golden = golden_of(one.row)
        assert one.at_order == pytest.approx(golden["rdp_at_order"], rel=1e-9)
        assert one.usual == pytest.approx(golden["rdp"], rel=1e-9)
        assert one.rdp <= one.usual


def test_a_row_is_reproduced_unless_it_has_a_typing_error_and_then_without_it(found):
    wrong = [one for one in found if one.row.wrong in ("epsilon", "order")]
    assert [one for one in found if not one.reproduced] == wrong
    for one in wrong:
        again = rdp_epsilon([release_of(one.row)], one.row.delta, (one.row.corrected.order,))[0]
        assert again == pytest.approx(one.row.corrected.epsilon, rel=TOLERANCE)


def release_of(row):
    return Release(sampling_rate=row.sampling_rate, noise_multiplier=row.noise_multiplier, count=row.rounds)


def test_no_training_of_the_paper_had_a_guarantee_at_its_own_population(found):
    for one in found:
        assert one.as_trained == rdp_epsilon([release_of(one.row.trained())], 1e-9)[0] > 5000
        assert one.row.is_trained == (one.row.cohort == 1024)


def test_the_table_marks_the_typing_errors(found):
    said = lines(found)
    assert "54 of 58 rows are reproduced" in "\n".join(said)
    assert said[-7:] == [
        "(1) epsilon 1.3 must be 13",
        "(2) order 3 must be 4",
        *(f"({number}) sigma 0.625e-6 must be 0.6e-6" for number in (3, 4, 5)),
        "(6) order 1.3 must be 1.1",
        "(7) order 3 must be 1.5",
    ]
    (row,) = [line for line in said if line.endswith("(2)")]
    assert row.split()[-9:] == ["2,034", "7.2", "3", "9.827", "7.22", "4.05", "-", "1.1e+08", "(2)"]


def test_the_page_has_the_typing_errors_as_they_are_computed(found):
    page = (checkout() / "docs" / "paper.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| 1")]
    assert rows == [
        f"| {one.row.table} | {one.row.data} | {one.row.noise_multiplier:g} | {one.row.cohort:,} "
        f"| {one.row.population:,} | {one.row.epsilon:g} at order {one.row.order:g} "
        f"| {one.at_order:.4g} | {one.error} |"
        for one in found
        if one.error
    ]


def test_pld_is_tighter_also_for_the_training_behind_a_row():
    row = next(row for row in epsilon_rows() if row.population == 1_737_650 and row.sigma == 100)
    said = Recomputed.of(row).describe()
    assert said["pld"] == pytest.approx(golden_of(row)["pld"], rel=5e-3)
    assert said["extrapolated"]
    assert said["trained"] == {
        "cohort": 1024,
        "population": 34_753,
        "epsilon": pytest.approx(4861, rel=1e-3),
    }


def test_the_command_gives_the_rows_of_a_table_as_json():
    done = CliRunner().invoke(app, ["paper", "privacy", "20", "--json"])
    rows = json.loads(done.stdout, parse_constant=pytest.fail)
    assert [row["sigma"] for row in rows] == [30, 10, 3]
    assert [row["printed_epsilon"] for row in rows] == [1.1e6, 1.1e7, 1.2e8]
    assert [row["pld"] is None for row in rows] == [False, False, True]
    for row in rows:
        assert row["trained"]["epsilon"] == min(row["rdp"], row["pld"] or row["rdp"]) > 50_000


def test_a_table_without_epsilons_is_refused():
    done = CliRunner().invoke(app, ["paper", "privacy", "4"])
    assert (done.exit_code, "table 4: states no epsilon; those that do are 1, 17, 18, 20" in done.stderr) == (
        2,
        True,
    )
