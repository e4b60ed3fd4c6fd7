#!/usr/bin/env python3
"""Writes small GGUF and safetensors files with the formats' own Python packages, and what they hold
as JSON, into tests/data/containers. files_test opens them and compares.

Pinned: gguf 0.19.0, safetensors 0.8.0, numpy 2.4.6. Run: python make_container_files.py
"""

import hashlib
import importlib.metadata
import json
import pathlib
import shutil

import gguf
import numpy as np
import safetensors.numpy

PINNED = {"gguf": "0.19.0", "safetensors": "0.8.0", "numpy": "2.4.6"}
OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "containers"
# Blocks of the quantised types; the bytes are random, only the container is tested.
BLOCKS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
          "IQ4_NL", "IQ4_XS", "MXFP4"]


def entry(name, dtype, shape, data):
    return {"name": name, "dtype": dtype, "shape": list(shape), "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest()}


def add_every_value_type(writer):
    T = gguf.GGUFValueType
    writer.add_key_value("test.u8", 200, T.UINT8)
    writer.add_key_value("test.i8", -100, T.INT8)
    writer.add_key_value("test.u16", 60000, T.UINT16)
    writer.add_key_value("test.i16", -30000, T.INT16)
    writer.add_key_value("test.u32", 4_000_000_000, T.UINT32)
    writer.add_key_value("test.i32", -2_000_000_000, T.INT32)
    writer.add_key_value("test.f32", 0.15625, T.FLOAT32)
    writer.add_key_value("test.bool", True, T.BOOL)
    writer.add_key_value("test.string", "h\u00e9llo \u4f60\u597d", T.STRING)
    writer.add_key_value("test.u64", 2**64 - 1, T.UINT64)
    writer.add_key_value("test.i64", -(2**63), T.INT64)
    writer.add_key_value("test.f64", 1e300, T.FLOAT64)
    writer.add_array("test.strings", ["a", "", "\u0120b"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -0.25])
    writer.add_array("test.bools", [True, False])
    return {"test.u8": 200, "test.i8": -100, "test.u16": 60000, "test.i16": -30000,
            "test.u32": 4_000_000_000, "test.i32": -2_000_000_000, "test.f32": 0.15625,
            "test.bool": True, "test.string": "h\u00e9llo \u4f60\u597d", "test.u64": 2**64 - 1,
            "test.i64": -(2**63), "test.f64": 1e300, "test.strings": ["a", "", "\u0120b"],
            "test.ints": [1, -2, 3], "test.floats": [0.5, -0.25], "test.bools": [True, False]}


def gguf_single(rng):
    writer = gguf.GGUFWriter(OUT / "single.gguf", "qwen35")
    metadata = {"general.architecture": "qwen35", **add_every_value_type(writer)}
    writer.add_custom_alignment(64)
    metadata["general.alignment"] = 64
    tensors = []

    def add(name, array, dtype):
        writer.add_tensor(name, array)
        tensors.append(entry(name, dtype, array.shape, array.tobytes()))

    add("f32.weight", rng.standard_normal((3, 5)).astype(np.float32), "F32")
    add("f16.weight", rng.standard_normal((2, 3, 4)).astype(np.float16), "F16")
    add("f64.bias", rng.standard_normal(7), "F64")
    for bits in (8, 16, 32, 64):
        add(f"i{bits}.ids", rng.integers(-100, 100, 9).astype(f"int{bits}"), f"I{bits}")
    add("four.dims", rng.standard_normal((2, 1, 3, 2)).astype(np.float32), "F32")
    raw = rng.integers(0, 256, (2, 16), dtype=np.uint8)
    writer.add_tensor("bf16.weight", raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    tensors.append(entry("bf16.weight", "BF16", (2, 8), raw.tobytes()))
    for name in BLOCKS:
        kind = gguf.GGMLQuantizationType[name]
        elems, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (2, size), dtype=np.uint8)
        writer.add_tensor(f"{name.lower()}.weight", raw, raw_dtype=kind)
        tensors.append(entry(f"{name.lower()}.weight", name, (2, elems), raw.tobytes()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"open": "single.gguf", "files": ["single.gguf"], "architecture": "qwen35",
            "metadata": metadata, "tensors": tensors}


def gguf_split(rng):
    writer = gguf.GGUFWriter(OUT / "split.gguf", "llama", split_max_tensors=2)
    writer.add_block_count(5)
    tensors = []
    for i in range(5):
        array = rng.standard_normal((i + 1, 8)).astype(np.float32)
        writer.add_tensor(f"blk.{i}.weight", array)
        tensors.append(entry(f"blk.{i}.weight", "F32", array.shape, array.tobytes()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"open": "split-00002-of-00003.gguf",
            "files": [f"split-{i:05}-of-00003.gguf" for i in (1, 2, 3)], "architecture": "llama",
            "metadata": {"general.architecture": "llama", "llama.block_count": 5,
                         "split.count": 3, "split.tensors.count": 5},
            "tensors": tensors}


def safetensors_arrays(rng):
    return {
        "f64": rng.standard_normal((2, 3)),
        "f32": rng.standard_normal((4, 1, 2)).astype(np.float32),
        "f16": rng.standard_normal(5).astype(np.float16),
        "i64": rng.integers(-9, 9, 3).astype(np.int64),
        "i32": rng.integers(-9, 9, (1, 3)).astype(np.int32),
        "i16": rng.integers(-9, 9, 2).astype(np.int16),
        "i8": rng.integers(-9, 9, 7).astype(np.int8),
        "u8": rng.integers(0, 255, 3).astype(np.uint8),
        "bool": np.array([True, False, True]),
        "scalar": np.array(1.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "n\u00e4me \u4f60": np.ones(2, dtype=np.float32),
    }


def safetensors_entries(arrays):
    return [entry(name, array.dtype.name.upper().replace("UINT", "U").replace("INT", "I")
                  .replace("FLOAT", "F"), array.shape, array.tobytes())
            for name, array in arrays.items()]


def safetensors_single(rng):
    folder = OUT / "single"
    folder.mkdir()
    arrays = safetensors_arrays(rng)
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 8}
    (folder / "config.json").write_text(json.dumps(config))
    return {"open": "single", "files": ["single/model.safetensors"],
            "architecture": "Qwen3ForCausalLM", "metadata": config,
            "tensors": safetensors_entries(arrays)}


def safetensors_low_precision(rng):
    """Types that NumPy has not: bytes under the header's own names."""
    folder = OUT / "fp8"
    folder.mkdir()
    data = {
        "model.layers.0.q_proj.weight": ("F8_E4M3", [4, 8]),
        "model.layers.0.q_proj.weight_scale_inv": ("BF16", [1, 1]),
        "model.layers.0.k_proj.weight": ("F8_E5M2", [4, 8]),
        "model.layers.0.k_proj.weight_scale_inv": ("F8_E8M0", [4, 1]),
    }
    # The package's name of the type, and bytes per element.
    types = {"F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1),
             "F8_E8M0": ("float8_e8m0fnu", 1), "BF16": ("bfloat16", 2)}
    specs, kept, tensors = {}, [], []
    for name, (dtype, shape) in data.items():
        package_name, size = types[dtype]
        raw = rng.integers(0, 256, int(np.prod(shape)) * size, dtype=np.uint8)
        kept.append(raw)  # the spec holds an address alone
        specs[name] = safetensors.TensorSpec(dtype=package_name, shape=shape,
                                             data_ptr=raw.ctypes.data, data_len=raw.nbytes)
        tensors.append(entry(name, dtype, shape, raw.tobytes()))
    safetensors.serialize_file(specs, folder / "model.safetensors")
    config = {"model_type": "qwen3", "quantization_config": {"quant_method": "fp8",
                                                               "weight_block_size": [128, 128]}}
    (folder / "config.json").write_text(json.dumps(config))
    return {"open": "fp8", "files": ["fp8/model.safetensors"], "architecture": "qwen3",
            "metadata": config, "tensors": tensors}


def safetensors_sharded(rng):
    folder = OUT / "sharded"
    folder.mkdir()
    arrays = {f"layers.{i}.weight": rng.standard_normal((i + 1, 3)).astype(np.float32)
              for i in range(4)}
    names = list(arrays)
    weight_map, files = {}, []
    for shard in range(2):
        file = f"model-{shard + 1:05}-of-00002.safetensors"
        part = {name: arrays[name] for name in names[2 * shard:2 * shard + 2]}
        safetensors.numpy.save_file(part, folder / file)
        weight_map |= {name: file for name in part}
        files.append(f"sharded/{file}")
    index = {"metadata": {"total_size": sum(a.nbytes for a in arrays.values())},
             "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config = {"architectures": ["Qwen3NextForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    return {"open": "sharded", "files": files, "architecture": "Qwen3NextForCausalLM",
            "metadata": config, "tensors": safetensors_entries(arrays)}


def main():
    for package, version in PINNED.items():
        found = importlib.metadata.version(package)
        if found != version:
            raise SystemExit(f"{package}: expected {version}, found {found}")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    rng = np.random.default_rng(7)
    cases = [make(rng) for make in (gguf_single, gguf_split, safetensors_single,
                                    safetensors_low_precision, safetensors_sharded)]
    (OUT / "expected.json").write_text(json.dumps({"versions": PINNED, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
