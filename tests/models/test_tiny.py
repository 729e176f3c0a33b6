from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import threading
from math import prod
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.models.tiny import TinyModelShape, write_tiny_model

FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
SMALL = TinyModelShape(
    num_hidden_layers=1,
    hidden_size=32,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    max_position_embeddings=64,
)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_tensors(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header's entries and the data of a safetensors file, after checking what its readers check."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for entry in header.values():
        begin, end = (end, entry["data_offsets"][1])
        assert entry["dtype"] == "F32"
        assert entry["data_offsets"] == [begin, begin + 4 * prod(entry["shape"])]
    assert len(data) == 8 + length + end
    return header, data[8 + length :]


def floats(header: dict[str, Any], data: bytes, name: str) -> list[float]:
    begin, end = header[name]["data_offsets"]
    return list(struct.unpack(f"<{(end - begin) // 4}f", data[begin:end]))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def test_folder_holds_the_model_and_nothing_else_is_left_behind(model: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == FILES
    assert [path.name for path in model.parent.iterdir()] == ["model"]
    assert model.stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_default_size() -> None:
    assert TinyModelShape().parameters == 2_787_584


def test_tensors_are_those_of_the_config(model: Path) -> None:
    config = read_json(model / "config.json")
    header, data = read_tensors(model / "model.safetensors")
    hidden, vocab, inner = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    expected = {"model.embed_tokens.weight": [vocab, hidden]}
    for layer in range(config["num_hidden_layers"]):
        expected |= {
            f"model.layers.{layer}.input_layernorm.weight": [hidden],
            f"model.layers.{layer}.self_attn.q_proj.weight": [queries, hidden],
            f"model.layers.{layer}.self_attn.k_proj.weight": [keys, hidden],
            f"model.layers.{layer}.self_attn.v_proj.weight": [keys, hidden],
            f"model.layers.{layer}.self_attn.o_proj.weight": [hidden, queries],
            f"model.layers.{layer}.post_attention_layernorm.weight": [hidden],
            f"model.layers.{layer}.mlp.gate_proj.weight": [inner, hidden],
            f"model.layers.{layer}.mlp.up_proj.weight": [inner, hidden],
            f"model.layers.{layer}.mlp.down_proj.weight": [hidden, inner],
        }
    expected |= {"model.norm.weight": [hidden], "lm_head.weight": [vocab, hidden]}
    assert {name: entry["shape"] for name, entry in header.items()} == expected
    assert len(data) == 4 * TinyModelShape().parameters


def test_grouped_heads_have_their_own_tensor_sizes(tmp_path: Path) -> None:
    header, data = read_tensors(write_tiny_model(tmp_path / "m", shape=SMALL) / "model.safetensors")
    assert header["model.layers.0.self_attn.q_proj.weight"]["shape"] == [32, 32]
    assert header["model.layers.0.self_attn.k_proj.weight"]["shape"] == [16, 32]
    assert header["model.layers.0.mlp.down_proj.weight"]["shape"] == [32, 48]
    assert len(data) == 4 * SMALL.parameters


def test_weights_are_exact_in_both_16_bit_formats_and_centred(model: Path) -> None:
    header, data = read_tensors(model / "model.safetensors")
    bits = struct.unpack(f"<{len(data) // 4}I", data)
    assert not any(value & 0xFFFF for value in bits)  # bfloat16 is the upper half of float32
    drawn = random.Random(1).sample(struct.unpack(f"<{len(data) // 4}f", data), 10_000)
    assert all(struct.unpack("<e", struct.pack("<e", value))[0] == value for value in drawn)
    values = floats(header, data, "model.layers.3.mlp.up_proj.weight")
    assert set(values) == {(2 * step - 255) / 256 / 8 for step in range(256)}
    assert abs(sum(values) / len(values)) < 1e-3
    assert set(floats(header, data, "model.norm.weight")) == {1.0}


def test_only_printable_tokens_have_large_output_rows(model: Path) -> None:
    header, data = read_tensors(model / "model.safetensors")
    values = floats(header, data, "lm_head.weight")
    large = [row for row in range(320) if max(map(abs, values[row * 256 : (row + 1) * 256])) > 2**-8]
    assert bytes(large).decode("ascii") == "".join(map(chr, range(0x20, 0x7F)))


def test_config_is_one_that_old_and_new_loaders_read(model: Path) -> None:
    assert read_json(model / "config.json") == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "num_hidden_layers": 4,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "intermediate_size": 512,
        "vocab_size": 320,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
        "raycompat": {
            "format": 1,
            "seed": 0,
            "shape": {
                "num_hidden_layers": 4,
                "hidden_size": 256,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "head_dim": 64,
                "intermediate_size": 512,
                "vocab_size": 320,
                "max_position_embeddings": 2048,
            },
        },
    }
    assert read_json(model / "generation_config.json") == {
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
    }


def test_tokenizer_has_one_token_per_byte_and_special_tokens_up_to_the_vocabulary(model: Path) -> None:
    tokenizer = read_json(model / "tokenizer.json")
    vocabulary = tokenizer["model"]["vocab"]
    assert tokenizer["model"]["merges"] == []
    assert sorted(vocabulary.values()) == list(range(256))
    # the byte-level alphabet: visible Latin-1 characters are themselves, the others follow from 256 in byte order
    assert vocabulary["A"] == 0x41
    assert vocabulary["ÿ"] == 0xFF
    assert vocabulary["Ā"] == 0x00
    assert vocabulary["Ċ"] == 0x0A
    assert vocabulary["Ġ"] == 0x20
    assert vocabulary["Ń"] == 0xAD
    assert not any(character.isspace() or not character.isprintable() for character in vocabulary)
    assert all(tokenizer[stage]["type"] == "ByteLevel" for stage in ("pre_tokenizer", "decoder"))
    added = tokenizer["added_tokens"]
    assert [token["id"] for token in added] == list(range(256, 320))
    assert [token["content"] for token in added[:8]] == [
        "<|bos|>",
        "<|eos|>",
        "<|pad|>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|tool|>",
        "<|reserved_0|>",
    ]
    assert len({token["content"] for token in added}) == 64
    assert all(token["special"] and not token["lstrip"] and not token["rstrip"] for token in added)


def test_tokenizer_config_names_the_same_special_tokens(model: Path) -> None:
    contents = {token["id"]: token["content"] for token in read_json(model / "tokenizer.json")["added_tokens"]}
    config, tokenizer = read_json(model / "config.json"), read_json(model / "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["clean_up_tokenization_spaces"] is False
    for name in ("bos_token", "eos_token", "pad_token"):
        assert contents[config[f"{name}_id"]] == tokenizer[name]
    assert "add_generation_prompt" in tokenizer["chat_template"]


def test_a_larger_vocabulary_is_filled_with_reserved_tokens(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", shape=TinyModelShape(num_hidden_layers=1, vocab_size=512))
    added = read_json(folder / "tokenizer.json")["added_tokens"]
    assert (added[-1]["id"], added[-1]["content"]) == (511, "<|reserved_248|>")
    assert read_tensors(folder / "model.safetensors")[0]["lm_head.weight"]["shape"] == [512, 256]


def test_same_seed_same_bytes_and_another_seed_other_weights(tmp_path: Path) -> None:
    first, again, other = (
        snapshot(write_tiny_model(tmp_path / name, seed=seed, shape=SMALL))
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )
    assert first == again
    changed = [name for name in FILES if first[name] != other[name]]
    assert changed == ["config.json", "model.safetensors"]


def test_other_default_weights_need_another_format_number(model: Path) -> None:
    assert read_json(model / "config.json")["raycompat"]["format"] == 1
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "c9b53c1a459e3f8b3fd24c31cff858514147a973aa344026dc90b496096624fa"


def test_a_complete_model_is_not_written_again(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", seed=3, shape=SMALL)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write_tiny_model(folder, seed=3, shape=SMALL) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_missing_parents_are_made_and_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert snapshot(write_tiny_model(tmp_path / "a" / "b", shape=SMALL)).keys() == set(FILES)
    (tmp_path / "empty").mkdir()
    assert snapshot(write_tiny_model(tmp_path / "empty", shape=SMALL)).keys() == set(FILES)


def test_writers_at_once_all_get_the_same_model(tmp_path: Path) -> None:
    barrier, done = threading.Barrier(8), []

    def write() -> None:
        barrier.wait()
        done.append(write_tiny_model(tmp_path / "m", shape=SMALL))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [tmp_path / "m"] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert sorted(snapshot(tmp_path / "m")) == FILES


def test_a_writer_that_comes_second_takes_the_model_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def lose(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        write_tiny_model(target, seed=winner, shape=SMALL)
        replace(source, target)

    winner = 0
    monkeypatch.setattr(os, "replace", lose)
    assert write_tiny_model(tmp_path / "same", shape=SMALL) == tmp_path / "same"
    winner = 1
    monkeypatch.setattr(os, "replace", lose)
    with pytest.raises(FileExistsError, match="already holds another tiny model"):
        write_tiny_model(tmp_path / "other", shape=SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "same"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="read-only"):
        write_tiny_model(tmp_path / "m", shape=SMALL)
    assert list(tmp_path.iterdir()) == []


def refusal(folder: Path, seed: int = 0) -> str:
    before = snapshot(folder) if folder.is_dir() else folder.read_bytes()
    with pytest.raises(FileExistsError) as caught:
        write_tiny_model(folder, seed=seed, shape=SMALL)
    assert (snapshot(folder) if folder.is_dir() else folder.read_bytes()) == before
    return str(caught.value)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert refusal(folder) == f"{folder} already holds other files (notes.txt): remove it or pass another folder"
    (folder / "config.json").write_text("[]")  # somebody else's
    for name in "abcd":
        (folder / name).touch()
    assert refusal(folder) == (
        f"{folder} already holds other files (a, b, c, config.json, d, ...): remove it or pass another folder"
    )


def test_a_model_of_another_seed_or_shape_is_left_alone(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", seed=1, shape=SMALL)
    shape = (
        '{"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, '
        '"head_dim": 8, "intermediate_size": 48, "vocab_size": 320, "max_position_embeddings": 64}'
    )
    assert refusal(folder, seed=2) == (
        f'{folder} already holds another tiny model ({{"format": 1, "seed": 1, "shape": {shape}}}, '
        f'wanted {{"format": 1, "seed": 2, "shape": {shape}}}): remove it or pass another folder'
    )
    with pytest.raises(FileExistsError, match="already holds another tiny model"):
        write_tiny_model(folder, seed=1, shape=TinyModelShape())


def test_an_incomplete_model_is_named_as_such(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", shape=SMALL)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])
    assert refusal(folder) == (
        f"{folder} already holds an incomplete copy of this tiny model (config.json, generation_config.json, "
        "model.safetensors, tokenizer.json, tokenizer_config.json): remove it or pass another folder"
    )
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == (
        f"{folder} already holds an incomplete copy of this tiny model (config.json, generation_config.json, "
        "tokenizer.json, tokenizer_config.json): remove it or pass another folder"
    )


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("mine")
    assert refusal(path) == f"{path} exists and is not a folder: remove it or pass another folder"


@pytest.mark.parametrize("size", [300, 256, 0, -64])
def test_vocabularies_that_vllm_would_pad_are_refused(size: int) -> None:
    with pytest.raises(ValueError) as caught:
        TinyModelShape(vocab_size=size)
    assert str(caught.value) == f"vocab_size must be a multiple of 64 and at least 320, not {size}"


@pytest.mark.parametrize(
    "sizes", [{"num_hidden_layers": 0}, {"num_key_value_heads": 0}, {"num_key_value_heads": 3}, {"head_dim": 5}]
)
def test_impossible_sizes_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^no Llama model can have these sizes: TinyModelShape\(num_hidden_layers="):
        TinyModelShape(**sizes)


def test_only_the_standard_library_is_imported() -> None:
    script = (
        "import sys; before = set(sys.modules); import pytest_raycompat.models.tiny; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["pytest_raycompat"]
