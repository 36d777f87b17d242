# Honest: rotary attention with tied weights; matrices by Muon, the rest by Adam.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, rms_norm, scaled_dot_product_attention

from experiments import harness

WIDTH, BATCH = 32, 16


def turned(x):  # (B, H, T, D)
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2], device=x.device)[:, None] * 100.0 ** -(torch.arange(half, device=x.device) / half)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1)


def orthogonal(grad):  # Newton and Schulz, five steps
    x = grad / (grad.norm() + 1e-7)
    x = x.T if grad.shape[0] > grad.shape[1] else x
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.T if grad.shape[0] > grad.shape[1] else x


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.parts, self.join = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 128, bias=False), nn.Linear(128, WIDTH, bias=False)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = rms_norm(self.token(tokens), (WIDTH,))
        batch, length, _ = x.shape
        query, key, value = self.parts(x).view(batch, length, 3, 2, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(turned(query), turned(key), value, is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        x = x + self.down(self.up(rms_norm(x, (WIDTH,))).relu().square())
        return rms_norm(x, (WIDTH,)) @ self.token.weight.T


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
    matrices = [weight for name, weight in model.named_parameters() if "token" not in name]
    optimizer = torch.optim.Adam([model.token.weight], lr=5e-3)
    moved = [torch.zeros_like(weight) for weight in matrices]
    tokens = torch.from_numpy(run.start().tokens.astype("int64")).to(run.device)
    step = 0
    while run.time_left() > 0:
        at = torch.randint(len(tokens) - run.seq_len - 1, (BATCH, 1)) + torch.arange(run.seq_len + 1)
        batch = tokens[at]
        loss = cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        model.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for weight, momentum in zip(matrices, moved, strict=True):
                momentum.lerp_(weight.grad, 0.1)
                weight.sub_(0.02 * orthogonal(momentum) * max(1, weight.shape[0] / weight.shape[1]) ** 0.5)
        step += 1
        run.progress(step=step, loss=loss)
    save_file(model.state_dict(), run.checkpoint)


if __name__ == "__main__":
    main()
