"""Run by test_export in a fresh process: reads exported files as a stranger would, without our code."""

import json
import sys

OURS = ("speech", "privacy", "strategies", "server", "client", "recipes", "cli", "murmuration_data")


class NotOurs:
    """An import hook under which our packages do not exist."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            raise ImportError(f"{name} is ours")
        return None


sys.meta_path.insert(0, NotOurs())

import numpy as np  # noqa: E402
import torch  # noqa: E402

METADATA_FILE = "murmuration.json"


def torch_export(path):
    extra = {METADATA_FILE: ""}
    return torch.export.load(path, extra_files=extra).module(), json.loads(extra[METADATA_FILE])


def torchscript(path):
    extra = {METADATA_FILE: ""}
    return torch.jit.load(path, _extra_files=extra), json.loads(extra[METADATA_FILE])


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(waveforms, lengths):
        return session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})

    return run, session.get_modelmeta().custom_metadata_map


def text(log_probs, metadata):
    best, blank = log_probs.argmax(-1), int(metadata["blank"])
    kept = [b for i, b in enumerate(best) if b != blank and (i == 0 or b != best[i - 1])]
    return "".join(metadata["characters"][b] for b in kept)


def main(folder):
    given = np.load(f"{folder}/given.npz")
    waveforms, lengths = torch.from_numpy(given["waveforms"]), torch.from_numpy(given["lengths"])
    answer = {}
    for name, load in (("model.pt2", torch_export), ("model.pt", torchscript), ("model.onnx", onnx)):
        run, metadata = load(f"{folder}/{name}")
        with torch.inference_mode():
            log_probs, frames = (np.asarray(one) for one in run(waveforms, lengths))
        np.save(f"{folder}/{name}.npy", log_probs)
        texts = [text(row[:count], metadata) for row, count in zip(log_probs, frames, strict=True)]
        answer[name] = {"frames": frames.tolist(), "texts": texts, "metadata": dict(metadata)}
    print(json.dumps(answer))


main(sys.argv[1])
