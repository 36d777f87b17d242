# Honest: a small GPT in torch, trained until its time is up.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from experiments import harness

WIDTH, HEADS, DEPTH, BATCH = 32, 2, 2, 16


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):  # (B, T, WIDTH)
        batch, length, _ = x.shape
        parts = self.attend(self.before(x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.think(self.between(x))


class Model(nn.Module):
    def __init__(self, vocab, length):
        super().__init__()
        self.token, self.place = nn.Embedding(vocab, WIDTH), nn.Embedding(length, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


def load_model(checkpoint, device):
    state = load_file(checkpoint, device=str(device))
    model = Model(state["token.weight"].shape[0], state["place.weight"].shape[0]).to(device).eval()
    model.load_state_dict(state)
    return model


def main():
    run = harness.connect()
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model = Model(run.vocab_size, run.seq_len).to(run.device)
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
