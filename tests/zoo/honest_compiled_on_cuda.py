# Honest: compiled where there is a GPU, eager elsewhere; the same block used three times over.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm, scaled_dot_product_attention

from experiments import harness

WIDTH, BATCH = 32, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.parts, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 96), nn.GELU(), nn.Linear(96, WIDTH))
        self.place, self.out = nn.Embedding(64, WIDTH), nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        batch, length = tokens.shape
        x = self.token(tokens) + self.place.weight[:length]
        for _ in range(3):
            query, key, value = self.parts(layer_norm(x, (WIDTH,))).view(batch, length, 3, 2, -1).permute(2, 0, 3, 1, 4)
            mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.join(mixed.transpose(1, 2).flatten(2))
            x = x + self.think(x)
        return self.out(x)


def load_model(checkpoint, device):
    state = load_file(checkpoint, device=str(device))
    model = Model(state["token.weight"].shape[0]).to(device).eval()
    model.load_state_dict(state)
    return torch.compile(model) if str(device).startswith("cuda") else model


def main():
    run = harness.connect()
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model = Model(run.vocab_size).to(run.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=run.device.startswith("cuda"))
    whole = model
    if run.device.startswith("cuda"):
        model = torch.compile(model)
        model(torch.zeros((BATCH, run.seq_len), dtype=torch.int64, device=run.device)).sum().backward()
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
    save_file(whole.state_dict(), run.checkpoint)


if __name__ == "__main__":
    main()
