# Honest: a transformer with dropout, which eval() turns off; Lion, with a warm-up and a decay.
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from experiments import harness

WIDTH, BATCH = 32, 16


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.token = nn.Embedding(vocab, WIDTH)

        self.place = nn.Embedding(64, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, 2, 96, dropout=0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, vocab)

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.token(tokens) + self.place.weight[:length]
        return self.out(self.blocks(x, mask=mask, is_causal=True))


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
    momentum = [torch.zeros_like(weight) for weight in model.parameters()]
    tokens = torch.from_numpy(run.start().tokens.astype("int64")).to(run.device)
    step = 0
    whole = run.time_left()
    while (left := run.time_left()) > 0:
        at = torch.randint(len(tokens) - run.seq_len - 1, (BATCH, 1)) + torch.arange(run.seq_len + 1)
        batch = tokens[at]
        loss = cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        model.zero_grad()
        loss.backward()
        rate = 1e-3 * min(1.0, (step + 1) / 20) * left / whole
        with torch.no_grad():
            for weight, past in zip(model.parameters(), momentum, strict=True):
                weight.mul_(1 - 0.1 * rate).sub_(rate * torch.sign(0.9 * past + 0.1 * weight.grad))
                past.lerp_(weight.grad, 0.01)
        step += 1
        run.progress(step=step, loss=loss)
    save_file(model.state_dict(), run.checkpoint)


if __name__ == "__main__":
    main()
