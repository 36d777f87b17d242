# Honest: weights and activations in bfloat16; only the logits are made float32.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, gelu, pad

from experiments import harness

WIDTH, BATCH = 64, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.layers = nn.ModuleList(nn.Linear(4 * WIDTH, WIDTH) for _ in range(2))
        self.out = nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        for reach, layer in enumerate(self.layers):
            past = torch.cat([pad(x, (0, 0, back << reach, 0))[:, : x.shape[1]] for back in range(4)], -1)
            x = x + gelu(layer(past))
        return self.out(x).float()


def load_model(checkpoint, device):
    state = load_file(checkpoint, device=str(device))
    model = Model(state["token.weight"].shape[0]).to(device, torch.bfloat16).eval()
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
    model = model.to(torch.bfloat16)
    save_file(model.state_dict(), run.checkpoint)


if __name__ == "__main__":
    main()
