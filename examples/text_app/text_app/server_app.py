"""The coordinator: a plan, a strategy and a ledger; the result is tested on users of no node."""

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from privacy import Ledger, PrivacyPlan
from strategies import DPFedAdam, GlobalModel, Mechanism, StreamingGrid, TrainingRun, register_population
from text_app.data import make_model, sentences_of

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train under the plan, then print accuracy and epsilon."""
    config, grid, network = context.run_config, StreamingGrid(grid, window=8), make_model()
    nodes, model = register_population(grid, nodes=int(config["nodes"])), GlobalModel.of(network)
    n = nodes.population
    plan = PrivacyPlan.calibrate(target_epsilon=8.0, population=n, cohort=n / 10, rounds=10, delta=1e-4)
    with Ledger.open(str(config["ledger"])) as ledger:
        mechanism = Mechanism.of(plan, model.layout, clip_bound=1.0)
        names = {"dataset": "topics", "run_id": str(context.run_id)}
        run = TrainingRun(population_index=nodes, ledger=ledger, **names)
        strategy = DPFedAdam(model=model, mechanism=mechanism, run=run, learning_rate=0.2)
        strategy.start(grid, strategy.arrays(), num_rounds=plan.rounds, timeout=600.0)
        words, topics = map(torch.cat, zip(*(sentences_of(n + user) for user in range(50)), strict=True))
        accuracy = (network(words).argmax(dim=1) == topics).float().mean()
        epsilon = ledger.epsilon(plan.delta).value
    print(f"accuracy {accuracy:.3f} (chance 0.25), epsilon {epsilon:.3f} at delta {plan.delta:g}", flush=True)
