# Honest: attention without softmax, as a sum over the past, with a decay for each head.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, elu

from experiments import harness

WIDTH, BATCH = 32, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.parts, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.decay = nn.Parameter(torch.tensor([1.0, 3.0]))
        self.think = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 64), nn.SiLU(), nn.Linear(64, WIDTH))
        self.out = nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        batch, length, _ = x.shape
        query, key, value = self.parts(x).view(batch, length, 3, 2, -1).permute(2, 0, 3, 1, 4)
        query, key = elu(query) + 1, elu(key) + 1
        place = torch.arange(length, device=x.device)
        apart = place[:, None] - place
        kept = (torch.nn.functional.logsigmoid(self.decay)[:, None, None] * apart.clamp(min=0)).exp() * (apart >= 0)
        weight = (query @ key.transpose(-1, -2)) * kept
        mixed = weight @ value / weight.sum(-1, keepdim=True)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
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
