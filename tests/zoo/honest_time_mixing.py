# Honest: RWKV's way: each place mixed with the one before, an exponential average of values by keys.
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

        self.share = nn.Parameter(torch.full((3, WIDTH), 0.5))
        self.parts = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.decay, self.first = nn.Parameter(torch.linspace(-3, 1, WIDTH)), nn.Parameter(torch.zeros(WIDTH))
        self.join, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        before = pad(x, (0, 0, 1, 0))[:, :-1]
        read, key, value = (
            part(x * share + before * (1 - share)) for part, share in zip(self.parts, self.share, strict=True)
        )
        key, fade = key.clamp(max=8).exp(), (-self.decay.exp()).exp()
        over = under = torch.zeros_like(x[:, 0])
        mixed = []
        for place in range(x.shape[1]):
            now = key[:, place] * self.first.exp()
            mixed.append((over + now * value[:, place]) / (under + now + 1e-6))
            over, under = fade * over + key[:, place] * value[:, place], fade * under + key[:, place]
        return self.out(x + self.join(torch.stack(mixed, 1) * read.sigmoid()))


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
    optimizer = torch.optim.Adamax(model.parameters(), lr=1e-2)
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
