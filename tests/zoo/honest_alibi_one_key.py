# Honest: attention with one key for all heads and a bias by distance instead of places; Adagrad.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from experiments import harness

WIDTH, HEADS, BATCH = 32, 4, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.query, self.pair = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH // HEADS)
        self.join, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.think = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 96), nn.ReLU(), nn.Linear(96, WIDTH))
        self.out = nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        batch, length, _ = x.shape
        query = self.query(self.norm(x)).view(batch, length, HEADS, -1).transpose(1, 2)
        key, value = self.pair(self.norm(x)).chunk(2, dim=-1)
        place = torch.arange(length, device=x.device)
        apart = (place[:, None] - place).float()
        slope = 2.0 ** -torch.arange(1, HEADS + 1, device=x.device)[:, None, None]
        score = query @ key[:, None].transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 - slope * apart
        weight = score.masked_fill(apart < 0, float("-inf")).softmax(-1)
        x = x + self.join((weight @ value[:, None]).transpose(1, 2).flatten(2))
        return self.out(x + self.think(x))


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
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.03)
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
