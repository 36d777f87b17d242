# Honest: three small networks of different kinds, whose probabilities are averaged.
import math

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, pad

from experiments import harness

WIDTH, BATCH = 32, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.wide = nn.Embedding(vocab, vocab)
        self.carry = nn.Conv1d(WIDTH, WIDTH, 5)
        self.cells = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.out = nn.ModuleList(nn.Linear(WIDTH, vocab) for _ in range(2))

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        near = self.out[0](torch.relu(self.carry(pad(x.transpose(1, 2), (4, 0)))).transpose(1, 2))
        far = self.out[1](self.cells(x)[0])
        each = torch.stack([self.wide(tokens), near, far]).log_softmax(-1)
        return each.logsumexp(0) - math.log(3)


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
    save_file(model.state_dict(), run.checkpoint)


if __name__ == "__main__":
    main()
