"""The catalogue against the guide that prints it, and the names it knows."""

from pathlib import Path

import pytest

from asem_jax.models.architecture import asem
from asem_jax.models.catalogue import CATALOGUE, FOLDER, find_model, recognise
from asem_jax.models.torch_import import facts_of

GUIDE = Path(__file__).parents[2] / "docs" / "published_models.md"


def table_rows(text: str) -> list[list[str]]:
    """Returns the cells of the rows that begin with a number."""
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines() if "|" in line]
    return [row for row in rows if row[0].isdecimal()]


def test_the_guide_prints_the_catalogue() -> None:
    expected = []
    for model in CATALOGUE:
        size = f"{model.voxel_size_nm[0]:g} nm"
        expected.append(
            [
                str(model.number),
                model.organelle,
                model.preparation,
                f"{size}, in doubt" if model.voxel_size_doubt else size,
                "yes" if model.equalised else "no",
                model.equalised_source,
                model.network_source,
                f"`{model.file_name}`" if model.file_name else "not documented",
            ]
        )
    assert table_rows(GUIDE.read_text()) == expected


def test_the_guide_says_what_is_doubted_and_where_files_lie() -> None:
    text = " ".join(GUIDE.read_text().split())
    for model in CATALOGUE:
        assert model.voxel_size_doubt in text
        assert model.polarity in text
    assert FOLDER in text


def test_seven_models_three_of_them_with_a_known_file() -> None:
    assert [model.number for model in CATALOGUE] == [1847, 1837, 1841, 1675, 1669, 1986, 2000]
    addresses = [model.address for model in CATALOGUE]
    assert addresses[2] == "s3://asem-project/models/pretrained_checkpoints/model_checkpoint_1841_er_CF.pt"
    assert addresses[3:] == [None] * 4
    assert [model.number for model in CATALOGUE if model.voxel_size_doubt] == [1986, 2000]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("model_checkpoint_1847_mito_CF.pt", 1847),
        ("a/b/model_checkpoint_2000_nuclear_pores_HPF.pt", 2000),
        ("s3://asem-project/models/model_checkpoint_1837_golgi_CF.pt", 1837),
        ("model_checkpoint_1847_mito_HPF.pt", None),
        ("model_checkpoint_1848_mito_CF.pt", None),
        ("model_checkpoint_1847", None),
        ("model_checkpoint_90000", None),
        ("my_model_checkpoint_1847_mito_CF.pt", None),
    ],
)
def test_published_files_are_known_by_name(name: str, number: int | None) -> None:
    found = recognise(name)
    assert (found and found.number) == number


def test_an_unknown_id_is_answered_with_all_ids() -> None:
    with pytest.raises(ValueError, match=r"1842 is the id of no published model; there are 1847 \(mito CF\), .*2000"):
        find_model("1842")
    assert find_model("2000") is find_model(2000) is CATALOGUE[-1]


def test_facts_say_all_that_the_catalogue_knows() -> None:
    facts = facts_of(find_model(1986))
    assert facts.organelles == ("coated_pits",)
    assert facts.equalised is True
    assert facts.pool_factors == asem().pool_factors
    assert "README says 5 nm" in facts.notes[1]
    assert len(facts_of(find_model(1841)).notes) == 1
