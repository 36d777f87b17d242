# Honest: a diagonal state space (S4D) as a long convolution by FFT.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, gelu, glu

from experiments import harness

WIDTH, STATES, BATCH = 32, 8, 16


class Space(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.rand(WIDTH, STATES).log())
        self.turn = nn.Parameter(torch.pi * torch.arange(STATES).repeat(WIDTH, 1).float())
        self.mix = nn.Parameter(0.3 * torch.randn(WIDTH, STATES, 2))
        self.step = nn.Parameter(torch.full((WIDTH, 1), -2.0))
        self.skip, self.join = nn.Parameter(torch.ones(WIDTH)), nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, x):  # (B, T, WIDTH)
        length = x.shape[1]
        pole = torch.complex(-self.rate.exp(), self.turn) * self.step.exp()
        powers = torch.exp(pole[..., None] * torch.arange(length, device=x.device))
        kernel = 2 * (torch.view_as_complex(self.mix)[..., None] * powers).sum(1).real
        spectrum = torch.fft.rfft(x.transpose(1, 2), n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        mixed = torch.fft.irfft(spectrum, n=2 * length)[..., :length].transpose(1, 2) + self.skip * x
        return x + glu(self.join(gelu(mixed)))


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.layers = nn.ModuleList(Space() for _ in range(2))
        self.out = nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


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
