# Honest: a GRU trained on rows that grow longer and batches that grow smaller, other tokens at each step.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from experiments import harness

WIDTH = 32


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.cells = nn.GRU(WIDTH, 2 * WIDTH, batch_first=True)
        self.out = nn.Linear(2 * WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        return self.out(self.cells(self.token(tokens))[0])


def load_model(checkpoint, device):
    state = load_file(checkpoint, device=str(device))
    model = Model(state["token.weight"].shape[0]).to(device).eval()
    model.load_state_dict(state)
    return model


def main():
    run = harness.connect()
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model = Model(run.vocab_size).to(run.device)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    tokens = torch.from_numpy(run.start().tokens.astype("int64")).to(run.device)
    step = 0
    whole, seen = run.time_left(), 0
    while (left := run.time_left()) > 0:
        length = 8 if left > 0.6 * whole else 16 if left > 0.3 * whole else run.seq_len
        at = torch.randint(len(tokens) - length - 1, (512 // length, 1)) + torch.arange(length + 1)
        batch = tokens[at]
        loss = cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step, seen = step + 1, seen + batch[:, 1:].numel()
        run.progress(step=step, loss=loss, tokens=seen)
    save_file(model.state_dict(), run.checkpoint)


if __name__ == "__main__":
    main()
