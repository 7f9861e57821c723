import torch
from safetensors import safe_open

from server.checkpoints import save_checkpoint


def test_a_checkpoint_holds_model_and_optimiser_and_appears_whole(tmp_path):
    path = tmp_path / "round-000003.safetensors"
    state = {"first": torch.ones(5), "steps": torch.tensor(3)}
    save_checkpoint(
        path,
        vector=torch.arange(5.0),
        optimiser=state,
        round_number=3,
        layout="abc",
        preset="tiny",
        privacy="none",
    )
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["round"] == "3"
        assert file.metadata()["privacy"] == "none"
        assert torch.equal(file.get_tensor("vector"), torch.arange(5.0))
        assert torch.equal(file.get_tensor("optimiser.first"), torch.ones(5))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
