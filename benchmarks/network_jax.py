"""The process that benchmarks/network.py times asem_jax in."""

import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from asem_jax.models.architecture import asem
from asem_jax.models.model import apply
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.torch_export import checkpoint_content, state_dict_from_params, write_torch_file
from asem_jax.models.torch_files import read_torch_file
from asem_jax.models.torch_weights import params_from_state_dict
from asem_jax.models.unet import UNet
from asem_jax.training.losses import balanced_cross_entropy
from asem_jax.training.optimizer import make_optimizer
from asem_jax.training.step import init_state
from benchmarks.worker import serve

GPU = jax.default_backend() == "gpu"


def asem_network(num_maps: int, mode: str) -> UNet:
    """Returns ASEM's network; `mode` is `float32`, `tf32` or `bfloat16`, perhaps with `rematerialized` behind it."""
    dtype = jnp.bfloat16 if "bfloat16" in mode else jnp.float32
    return UNet(asem(num_maps=num_maps), 6**0.5, dtype, rematerialize="rematerialized" in mode)


def precision(mode: str) -> str:
    """Returns what products of float32 are made of; only GPUs know a difference."""
    return "highest" if mode.startswith("float32") else "default"


class Program:
    """A compiled program with its arrays on the device."""

    def __init__(self, kind: str, mode: str, size: int, num_maps: int) -> None:
        """Compiles; the parameters are shapes only until `load`."""
        self.kind = kind
        self.network = asem_network(num_maps, mode)
        self.optimizer = make_optimizer(
            learning_rate=3e-5, final_learning_rate=3e-5, num_steps=1, weight_decay=3e-5, max_gradient_norm=None
        )
        raw = jax.ShapeDtypeStruct((1, size, size, size, 1), jnp.float32)
        params = jax.eval_shape(self.network.init, jax.random.key(0), raw)["params"]
        if kind == "forward":
            function, arguments = jax.jit(self._forward), (params, raw)
        else:
            predicted = jax.eval_shape(self._forward, params, raw).shape[:4]
            state = params, jax.eval_shape(self.optimizer.init, params)
            target = jax.ShapeDtypeStruct(predicted, jnp.int32)
            function, arguments = jax.jit(self._train, donate_argnums=0), (state, raw, target)
        with jax.default_matmul_precision(precision(mode)):
            start = time.perf_counter()
            lowered = function.lower(*arguments)
            self.lower_s = time.perf_counter() - start
            self.compiled = lowered.compile()
            self.compile_s = time.perf_counter() - start - self.lower_s

    def _forward(self, params: Any, raw: jax.Array) -> jax.Array:
        return apply(self.network, params, raw)

    def _loss(self, params: Any, raw: jax.Array, target: jax.Array) -> jax.Array:
        logits = self._forward(params, raw)[0]
        everywhere = jnp.ones(target.shape[1:], bool)
        limits = {"min_fraction": 0.01, "max_fraction": 0.99}
        return balanced_cross_entropy(logits, target[0], everywhere, class_weights=jnp.ones(2), **limits)

    def _train(self, state: Any, raw: jax.Array, target: jax.Array) -> Any:
        params, opt_state = state
        loss, gradients = jax.value_and_grad(self._loss)(params, raw, target)
        updates, opt_state = self.optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def load(self, weights: str, batch: str) -> None:
        """Reads the parameters and the batch."""
        tensors = read_torch_file(weights)["model_state_dict"]
        params = params_from_state_dict(tensors, self.network.architecture)
        arrays = np.load(batch)
        self.state = params if self.kind == "forward" else (params, self.optimizer.init(params))
        self.batch = [jnp.asarray(arrays["raw"])]
        if self.kind == "train":
            self.batch.append(jnp.asarray(arrays["target"], jnp.int32))

    def call(self) -> jax.Array:
        """Makes one call; returns the logits, or the loss, when they are there."""
        result = self.compiled(self.state, *self.batch)
        if self.kind == "train":
            self.state, result = result
        jax.block_until_ready((self.state, result))
        return result

    def outcome(self, result: jax.Array) -> dict[str, Any]:
        """The logits; or the loss and, as Adam's first moments show them after one step, the gradients."""
        if self.kind == "forward":
            return {"logits": np.asarray(result)}
        (moments,) = (s.mu for s in self.state[1] if isinstance(s, optax.ScaleByAdamState))
        tensors = state_dict_from_params(moments, self.network.architecture).values()
        return {"loss": np.asarray(result), "gradients": np.concatenate([tensor.ravel() for tensor in tensors])}

    @property
    def bytes_needed(self) -> int:
        """What the compiled program holds: arguments, results that are not arguments again, and temporaries."""
        stats = self.compiled.memory_analysis()
        return (
            stats.argument_size_in_bytes
            + stats.output_size_in_bytes
            - stats.alias_size_in_bytes
            + stats.temp_size_in_bytes
        )


class Worker:
    """What the commands do; each method answers one, by its name, with a dict for JSON."""

    def __init__(self) -> None:
        self.programs: dict[tuple[str, str], Program] = {}

    def describe(self) -> dict[str, Any]:
        """Versions and device."""
        device = jax.devices()[0].device_kind
        return {"jax": jax.__version__, "python": platform.python_version(), "device": device, "gpu": GPU}

    def write_weights(self, path: str, num_maps: int) -> dict[str, Any]:
        """Writes random parameters as a PyTorch file; their gain keeps the signal's size, so differences show."""
        network = asem_network(num_maps, "float32")
        smallest = valid_input_shape((1, 1, 1), network.architecture)
        params = init_state(network, optax.identity(), smallest, seed=0).params
        write_torch_file(path, checkpoint_content(state_dict_from_params(params, network.architecture)))
        return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(params))}

    def compile(self, kind: str, mode: str, *, size: int, num_maps: int) -> dict[str, Any]:
        """Compiles a program; says how long that took, and what it holds when it runs."""
        program = self.programs[kind, mode] = Program(kind, mode, size, num_maps)
        return {"lower_s": program.lower_s, "compile_s": program.compile_s, "gb": program.bytes_needed / 1e9}

    def prepare(self, kind: str, mode: str, *, size: int, num_maps: int, weights: str, batch: str) -> dict[str, Any]:
        """Compiles a program and puts its parameters and batch on the device; answers as `compile` does."""
        answer = self.compile(kind, mode, size=size, num_maps=num_maps)
        self.programs[kind, mode].load(weights, batch)
        return answer

    def run(self, kind: str, mode: str, keep: str = "") -> dict[str, Any]:
        """Makes one call and times it; keeps what came out in the file `keep`, if one is named."""
        program = self.programs[kind, mode]
        start = time.perf_counter()
        result = program.call()
        seconds = time.perf_counter() - start
        if keep:
            np.savez(keep, **program.outcome(result))
        return {"seconds": seconds}

    def release(self, kind: str, mode: str) -> dict[str, Any]:
        """Forgets a program."""
        del self.programs[kind, mode]
        return {}

    def ceiling(self, mode: str, size: int) -> dict[str, Any]:
        """Returns the rate of the best of 7 products of two square matrices: what the machine can do at most."""
        matrix = jnp.ones((size, size), jnp.bfloat16 if "bfloat16" in mode else jnp.float32)
        with jax.default_matmul_precision(precision(mode)):
            product = jax.jit(jnp.dot).lower(matrix, matrix).compile()
        best = float("inf")
        for _ in range(7):
            start = time.perf_counter()
            product(matrix, matrix).block_until_ready()
            best = min(best, time.perf_counter() - start)
        return {"gflops": 2 * size**3 / best / 1e9}


if __name__ == "__main__":
    serve(Worker())
