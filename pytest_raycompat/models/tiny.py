"""A tiny Llama with random weights, written as plain files that any transformers and any vLLM can load.

Only the standard library is used: the pytest process writes the model, and it must not import torch or transformers.

* One token is one byte: token id ``b`` is byte ``b``; special tokens follow from id 256.
* Greedy decoding yields printable ASCII only and never ends by itself, so ``max_tokens`` alone sets the length.
* Every weight is exact in float32, float16 and bfloat16 alike.
"""

from __future__ import annotations

import json
import os
import random
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

_FORMAT = 1  # raise it whenever the same seed and shape would give other files
_SPECIALS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + (message['content'] or '') + "
    "eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class TinyModelShape:
    """Sizes of a Llama model, named as in its config.json; by default 2.8 million parameters, 11 MB.

    ``num_hidden_layers`` bounds pipeline parallelism and the heads bound tensor parallelism: 4 each by default.
    ``max_position_embeddings`` is in tokens. A ``head_dim`` of 64 suits the CPU and the FlashAttention kernels.

    Raises:
        ValueError: If no model can have these sizes, or ``vocab_size`` is not a multiple of 64 from 320 on.
    """

    num_hidden_layers: int = 4
    hidden_size: int = 256
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 64
    intermediate_size: int = 512
    vocab_size: int = 320
    max_position_embeddings: int = 2048

    def __post_init__(self) -> None:
        if self.vocab_size % 64 or self.vocab_size < 320:  # 256 bytes, the special tokens and reserved ones
            raise ValueError(f"vocab_size must be a multiple of 64 and at least 320, not {self.vocab_size}")
        if min(asdict(self).values()) < 1 or self.num_attention_heads % self.num_key_value_heads or self.head_dim % 2:
            raise ValueError(f"no Llama model can have these sizes: {self}")

    @property
    def parameters(self) -> int:
        """Number of weights; each takes 4 bytes on disk."""
        return sum(prod(dims) for _, dims in _tensors(self))


ONE_BILLION = TinyModelShape(
    num_hidden_layers=16,
    hidden_size=2048,
    num_attention_heads=32,
    num_key_value_heads=8,
    intermediate_size=8192,
)
"""The sizes of a Llama of about 1B parameters."""


def write_model_without_weights(folder: Path, shape: TinyModelShape) -> Path:
    """Write all of a model but its weights, for ``load_format="dummy"``, into the new ``folder``; return ``folder``.

    Raises:
        FileExistsError: there is something already.
    """
    folder.mkdir(parents=True)
    for name, content in _documents(0, shape).items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")
    return folder


def write_tiny_model(folder: Path, *, seed: int = 0, shape: TinyModelShape | None = None) -> Path:
    """Write a tiny Llama causal language model and its tokenizer into ``folder``, and return ``folder``.

    The same ``seed`` and ``shape`` (by default ``TinyModelShape()``) give the same bytes everywhere. The folder appears
    complete or not at all, also when several processes write it; where it already holds this model, nothing is written.

    Raises:
        FileExistsError: If ``folder`` is a file, or holds anything but this model.
        OSError: If the files cannot be written (11 MB in the default shape).
    """
    shape = shape or TinyModelShape()
    if _holds_model(folder, seed, shape):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        (draft := Path(scratch, "model")).mkdir()  # a folder inside, as only its owner can read the temporary one
        for name, content in _documents(seed, shape).items():
            (draft / name).write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")
        with open(draft / "model.safetensors", "wb") as file:
            file.writelines(_weights(seed, shape))
        try:
            os.replace(draft, folder)  # refused unless the folder is missing or empty
        except OSError:
            if not _holds_model(folder, seed, shape):  # else another process was first with the same model
                raise
    return folder


def _holds_model(folder: Path, seed: int, shape: TinyModelShape) -> bool:
    """Tell whether the folder holds this model; a missing or empty folder does not, any other content raises."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise FileExistsError(f"{folder} exists and is not a folder: remove it or pass another folder")
    if not (names := sorted(os.listdir(folder)) if folder.is_dir() else []):
        return False
    documents = _documents(seed, shape)
    wanted = documents["config.json"]["raycompat"]
    try:
        found = json.loads((folder / "config.json").read_bytes())["raycompat"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    size = len(_header(shape)) + 4 * shape.parameters
    if found is None:
        what = f"other files ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
    elif found != wanted:
        what = f"another tiny model ({json.dumps(found)}, wanted {json.dumps(wanted)})"
    elif not {*documents, "model.safetensors"}.issubset(names) or (folder / "model.safetensors").stat().st_size != size:
        what = f"an incomplete copy of this tiny model ({', '.join(names)})"
    else:
        return True
    raise FileExistsError(f"{folder} already holds {what}: remove it or pass another folder")


def _documents(seed: int, shape: TinyModelShape) -> dict[str, dict[str, Any]]:
    """Return the content of every JSON file by the file's name."""
    ids = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    specials = [*_SPECIALS, *(f"<|reserved_{number}|>" for number in range(shape.vocab_size - 256 - len(_SPECIALS)))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}  # bytes that GPT-2 writes as themselves
    hidden = {byte: 256 + place for place, byte in enumerate(sorted({*range(256)} - shown))}
    return {
        "config.json": {
            **_LLAMA,
            "torch_dtype": "float32",  # no "dtype" beside it: transformers before 4.56 would keep that as a string
            "tie_word_embeddings": False,
            **(asdict(shape) | ids),
            "raycompat": {"format": _FORMAT, "seed": seed, "shape": asdict(shape)},
        },
        "generation_config.json": ids,
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": [{"id": 256 + place, "content": token, **flags} for place, token in enumerate(specials)],
            **dict.fromkeys(("pre_tokenizer", "post_processor", "decoder"), byte_level),
            "model": {"type": "BPE", "vocab": {chr(hidden.get(byte, byte)): byte for byte in range(256)}, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **dict(zip(("bos_token", "eos_token", "pad_token"), _SPECIALS, strict=False)),
            "clean_up_tokenization_spaces": False,  # else decoding drops spaces before punctuation
            "chat_template": _CHAT_TEMPLATE,
        },
    }


def _tensors(shape: TinyModelShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and dimensions of every tensor, in file order."""
    hidden, inner, vocab = shape.hidden_size, shape.intermediate_size, shape.vocab_size
    queries, keys = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
    attention = {"q": (queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
    mlp = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in (f"model.layers.{number}" for number in range(shape.num_hidden_layers)):
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield from ((f"{layer}.self_attn.{name}_proj.weight", dims) for name, dims in attention.items())
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield from ((f"{layer}.mlp.{name}_proj.weight", dims) for name, dims in mlp.items())
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def _header(shape: TinyModelShape) -> bytes:
    """Return the start of the safetensors file: the length of the JSON in 8 bytes, and the JSON."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dims in _tensors(shape):
        begin, end = end, end + 4 * prod(dims)
        entries[name] = {"dtype": "F32", "shape": dims, "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # so that the tensors start aligned
    return struct.pack("<Q", len(text)) + text


def _weights(seed: int, shape: TinyModelShape) -> Iterator[bytes]:
    """Yield the bytes of the safetensors file, piece by piece."""
    yield _header(shape)
    generator = random.Random(seed)
    for name, dims in _tensors(shape):
        exponent = 1 - (dims[-1].bit_length() - 1) // 2  # about 2 / sqrt(inputs): an output as large as the input
        if len(dims) == 1:
            yield struct.pack("<f", 1.0) * dims[0]
        elif name == "lm_head.weight":
            # only printable rows are large: logits of the others stay near 0, which the best printable one beats
            for rows, size in ((0x20, -8), (0x7F - 0x20, exponent + 2), (dims[0] - 0x7F, -8)):
                yield _uniform(generator, rows * dims[1], size)
        else:
            yield _uniform(generator, prod(dims), 0 if name == "model.embed_tokens.weight" else exponent)


def _uniform(generator: random.Random, count: int, exponent: int) -> bytes:
    """Return ``count`` little-endian float32 values, uniform in 256 steps between -2**exponent and 2**exponent."""
    values = [struct.pack("<f", (2 * step - 255) / 256 * 2.0**exponent) for step in range(256)]
    drawn = generator.randbytes(count)
    data = bytearray(4 * count)
    for place in range(4):  # one table look-up for each byte of the float: far faster than one float at a time
        data[place::4] = drawn.translate(bytes(value[place] for value in values))
    return bytes(data)
