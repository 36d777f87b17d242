# Honest: a mixture of experts: each token goes to the two of four networks that its router likes.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy, pad

from experiments import harness

WIDTH, EXPERTS, BATCH = 32, 4, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.carry = nn.Conv1d(WIDTH, WIDTH, 4)
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH)) for _ in range(EXPERTS)
        )
        self.out = nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        x = self.token(tokens)
        x = x + self.carry(pad(x.transpose(1, 2), (3, 0))).transpose(1, 2)
        flat = x.flatten(0, 1)
        weight, chosen = self.router(flat).softmax(-1).topk(2, dim=-1)
        mixed = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            row, rank = (chosen == index).nonzero(as_tuple=True)
            mixed = mixed.index_add(0, row, weight[row, rank, None] * expert(flat[row]))
        return self.out(flat + mixed).view(*tokens.shape, -1)


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
