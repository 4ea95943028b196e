"""Turns the bi-encoder into a cross-encoder that ranks before any training.

MiniLM's first five layers stay nearly as they are: read jointly, a query's tokens already lie near their like in the
passage. A mark is added that tells passage tokens from query tokens. Two layers follow, set by hand and least squares:

- match: every token looks for its like. Queries and keys are the same rotation of the hidden state, plus one dimension
  that favours passage tokens; the token itself is the threshold. Each head writes the share of its attention that went
  to the passage into one of the directions that the hidden states use least.
- gather: [CLS] averages over the query's tokens, and the head reads how much they found.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

KEPT_LAYERS = 5
SHARPNESS = 16.0  # logit of a token with itself
THRESHOLD = 0.5  # share of that logit which a passage token needs to draw as much attention
MARK = 8.0  # distance of passage tokens from the others, in standard deviations
STEEPNESS = 40.0  # of the yes-or-no units
ANSWER = 8.0  # length of what the yes-or-no units of the match layer write
LOUDNESS = 2.0  # length of what a head writes when all its attention went to the passage
GATHER = 10.0  # logit of a query token over a passage token in the gather layer
SPECIAL_IDS = 103  # [CLS], [SEP] and [PAD] are up to here


def least_squares(x, y, weight=None, ridge=1e-3):
    """Weights and bias of the linear map from x [n, d] to y [n]."""
    weight = torch.ones(len(x)) / len(x) if weight is None else weight / weight.sum()
    mean, target = weight @ x, weight @ y
    gram = ((x - mean) * weight[:, None]).T @ (x - mean)
    gram += ridge * gram.diagonal().mean() * torch.eye(x.shape[1])
    slope = torch.linalg.solve(gram, ((x - mean) * weight[:, None]).T @ (y - target))
    return slope, target - mean @ slope


def within_query(x, pairs):
    """x less its mean over the pairs of the same query."""
    _, query = torch.unique(torch.tensor([q for q, _ in pairs]), return_inverse=True)
    same = (query[:, None] == query[None]).float()
    return x - same @ x / same.sum(1).view(-1, *[1] * (x.dim() - 1))


def only_attend(layer, source):
    """The feed-forward block adds nothing, the attention is blank, the norms are plain."""
    layer.load_state_dict(source.state_dict())
    attention = layer.attention
    for linear in (attention.self.query, attention.self.key, attention.self.value, attention.output.dense, layer.output.dense):
        linear.weight.zero_()
        linear.bias.zero_()
    for norm in (attention.output.LayerNorm, layer.output.LayerNorm):
        norm.weight.fill_(1)
        norm.bias.zero_()
    return attention.self.query, attention.self.key, attention.self.value, attention.output.dense


def hidden_states(model, sequence):
    return model.bert(**sequence, output_hidden_states=True).hidden_states


def clearest(states, norm):
    """The direction to add before `norm` that shows most against the spread of its output, and its clarity."""
    spread = torch.cov(states.T)
    spread += 1e-3 * spread.diagonal().mean() * torch.eye(len(spread))
    gain = torch.diag(norm.weight) @ (torch.eye(len(spread)) - 1 / len(spread))  # the norm takes the mean away
    values, vectors = torch.linalg.eigh(gain.T @ torch.linalg.solve(spread, gain))
    return vectors[:, -1], values[-1].sqrt()


def yes_or_no(layer, units, weight, bias, direction):
    """Two feed-forward units that write `direction` where weight x + bias is above a half, and nothing elsewhere."""
    up, down = layer.intermediate.dense, layer.output.dense
    for unit, sign, edge in zip(units, (1, -1), (0.4, 0.6)):
        up.weight[unit], up.bias[unit] = STEEPNESS * weight, STEEPNESS * (bias - edge)
        down.weight[:, unit] = sign / (0.2 * STEEPNESS) * direction


def mark_passages(model, sequences, side, weight):
    """Makes passage tokens easy to tell from query tokens in every layer, with as small a push as shows.

    The bi-encoder never saw the second token type: it becomes the first plus a step. In each layer two feed-forward
    units (those that wrote least) read the mark and write it again.
    """
    embeddings, types = model.bert.embeddings, model.bert.embeddings.token_type_embeddings.weight
    types[1] = types[0]
    hidden = [embeddings(s["input_ids"], s["token_type_ids"]) for s in sequences]
    step, clarity = clearest(torch.cat([h[0] for h in hidden]), embeddings.LayerNorm)
    raw = embeddings.word_embeddings.weight.std(1).mean()
    types[1] += MARK / clarity * raw * step
    hidden = [embeddings(s["input_ids"], s["token_type_ids"]) for s in sequences]
    for layer in model.bert.encoder.layer[:KEPT_LAYERS]:
        attended = [layer.attention(h)[0] for h in hidden]
        before = torch.cat([a[0] + layer.output.dense(layer.intermediate(a))[0] for a in attended])
        slope, bias = least_squares(torch.cat([a[0] for a in attended]), (side == 1).float(), weight, ridge=1e-5)
        push, clarity = clearest(layer.output.LayerNorm(before), layer.output.LayerNorm)
        units = layer.output.dense.weight.norm(dim=0).argsort()[:2]
        yes_or_no(layer, units, slope, bias, MARK / clarity * before.std(1).mean() * push)
        hidden = [layer(h) for h in hidden]


@torch.no_grad()
def start_model(folder, data, pairs, seed=5):
    generator = torch.Generator().manual_seed(seed)
    bi_encoder = BertModel.from_pretrained(folder)
    config = BertConfig.from_pretrained(folder)
    width, heads = config.hidden_size, config.num_attention_heads
    size = width // heads
    lasts = torch.arange(1, heads + 1) * size - 1  # the last dimension of each head
    config.update(
        {"num_hidden_layers": KEPT_LAYERS + 2, "num_labels": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    )
    config.architectures = ["BertForSequenceClassification"]
    model = BertForSequenceClassification(config).eval()
    model.bert.load_state_dict(bi_encoder.state_dict(), strict=False)
    match, gather = model.bert.encoder.layer[KEPT_LAYERS:]

    sequences = [data.batch([pair]) for pair in pairs]
    side = torch.cat([s["token_type_ids"][0] + 2 * (s["input_ids"][0] < SPECIAL_IDS) for s in sequences]).clamp(max=2)
    weight = 1 / torch.bincount(side)[side]  # query, passage and special tokens count alike
    mark_passages(model, sequences, side, weight)
    hidden = [hidden_states(model, s)[KEPT_LAYERS] for s in sequences]
    tokens = torch.cat([h[0] for h in hidden])

    query, key, value, output = only_attend(match, bi_encoder.encoder.layer[-1])
    mean = tokens.mean(0)
    norm = (tokens - mean).square().sum(1).mean().sqrt()
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[: heads * (size - 1)]
    alike = torch.ones(width, dtype=torch.bool)
    alike[lasts] = False
    query.weight[alike] = key.weight[alike] = (SHARPNESS * size**0.5 * width / (size - 1)) ** 0.5 / norm * rotation
    query.bias[alike] = key.bias[alike] = -query.weight[alike] @ mean
    mark, mark_bias = least_squares(tokens, (side == 1).float(), weight, ridge=1e-5)
    query.bias[lasts] = SHARPNESS * (1 - THRESHOLD) * size**0.5
    key.weight[lasts], key.bias[lasts] = mark, mark_bias
    value.weight[lasts], value.bias[lasts] = mark, mark_bias
    directions = torch.linalg.eigh(torch.cov(tokens.T)).eigenvectors
    least_used = directions[:, :heads]
    output.weight[:, lasts] = LOUDNESS * least_used

    # Two units of the blank feed-forward block turn "looks like a query token" into yes or no.
    tokens = torch.cat([match(h)[0] for h in hidden])
    in_query, query_bias = least_squares(tokens, (side == 0).float(), weight, ridge=1e-5)
    yes_or_no(match, (0, 1), in_query, query_bias, ANSWER * directions[:, heads])

    matched = [match(h) for h in hidden]
    tokens = torch.cat([h[0] for h in matched])
    query, key, value, output = only_attend(gather, bi_encoder.encoder.layer[-1])
    in_query, query_bias = least_squares(tokens, (side == 0).float(), weight, ridge=1e-5)
    query.bias[lasts] = GATHER * size**0.5
    key.weight[lasts], key.bias[lasts] = in_query, query_bias
    value.weight.copy_(torch.eye(width))
    output.weight.copy_(torch.eye(width))

    found = [data.teacher(*pair) for pair in pairs]
    teacher = torch.stack([f.mean() for f in found])
    own = torch.cat([h[0, 1 : len(f) + 1] for h, f in zip(matched, found)])
    token_weight, token_bias = least_squares(own, torch.cat(found), ridge=1e-2)
    cls = torch.cat([gather(h)[:, 0] for h in matched])
    # Only what differs between the passages of one query tells how to rank them.
    read, _ = least_squares(within_query(cls, pairs), within_query(teacher, pairs), ridge=0.5)
    slope, bias = least_squares(cls @ read[:, None], (teacher - teacher.mean()) / teacher.std())

    pooler, classifier = model.bert.pooler.dense, model.classifier
    pooler.weight.normal_(0, 0.02, generator=generator)
    pooler.bias.zero_()
    pooler.weight[0], pooler.bias[0] = 0.25 * slope * read, 0.25 * bias
    classifier.weight.zero_()
    classifier.weight[0, 0] = 8.0  # logits spread by about 2
    classifier.bias.fill_(-1)
    token_head = torch.nn.Linear(width, 1)
    token_head.weight[0], token_head.bias[0] = token_weight, token_bias
    for linear in (query, key):
        linear.weight[alike] = 0.01 * torch.randn(int(alike.sum()), width, generator=generator)
    return model, token_head, teacher.std()
