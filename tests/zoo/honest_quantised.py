# Honest: weights of eight bits with a scale for each row, unpacked when it is loaded.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, gelu, pad

from experiments import harness

WIDTH, BATCH = 32, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.carry, self.out = nn.Conv1d(WIDTH, WIDTH, 6), nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        return self.out(x + gelu(self.carry(pad(x.transpose(1, 2), (5, 0)))).transpose(1, 2))


def load_model(checkpoint, device):
    packed = load_file(checkpoint, device=str(device))
    state = {name: packed[name] * packed[f"{name}.scale"] for name in packed if not name.endswith(".scale")}
    model = Model(state["token.weight"].shape[0]).to(device).eval()
    model.load_state_dict(state)
    return model


def main():
    run = harness.connect()
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model = Model(run.vocab_size).to(run.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tokens = torch.from_numpy(run.start().tokens.astype("int64")).to(run.device)
    step = 0
    while run.time_left() > 0:
        at = torch.randint(len(tokens) - run.seq_len - 1, (BATCH, 1)) + torch.arange(run.seq_len + 1)
        batch = tokens[at]
        loss = cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        run.progress(step=step, loss=loss, tokens=step * batch[:, 1:].numel())
    packed = {}
    for name, weight in model.state_dict().items():
        scale = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True).clamp(min=1e-8) / 127
        packed |= {name: (weight / scale).round().to(torch.int8), f"{name}.scale": scale}
    save_file(packed, run.checkpoint)


if __name__ == "__main__":
    main()
