"""The training of a class-conditional GAN: one function, its state its locals, read from top to bottom.

Used for the joint model over all classes and, started from it, for one class.
"""

from __future__ import annotations

import copy
import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from pipeline import InputError
from pipeline.gan.architectures import NETWORKS, SHAPE, build, check_freeze_D
from pipeline.gan.augment import ADA_INTERVAL, adapt, augment
from pipeline.gan.capture import capture
from pipeline.gan.checkpoint import Model, save_model
from pipeline.gan.conditioning import set_strength, transition_strength
from pipeline.gan.data import place_data
from pipeline.gan.distributed import ALONE, Ranks, agree, average
from pipeline.gan.draws import Draws
from pipeline.gan.ema import average_weights, ema_beta
from pipeline.gan.health import Tick, diagnose
from pipeline.gan.losses import LOSSES
from pipeline.gan.memory import check_batch, free_bytes, named_when_out_of_memory
from pipeline.gan.penalties import DStep, build_penalties
from pipeline.gan.precision import autocast_dtype
from pipeline.gan.previews import grid, save_film
from pipeline.gan.sampling import sample, to_float
from pipeline.images.seeding import stream_state
from pipeline.resume import TrainingState, fingerprint

PREVIEWS_PER_CLASS = 8
SCORED_PER_CLASS = 64  # samples a tick, for its KID, coverage and spread
LOGGED = ("D_loss", "G_loss", "real_logits", "fake_logits", "D_accuracy")  # means over a tick's steps
FLIPS = {"vertical": 2, "horizontal": 3}

Score = Callable[[dict[str, np.ndarray]], dict[str, float]]


def train(
    images: Mapping[str, np.ndarray],
    classes: list[str],
    out_dir: str | Path,
    *,
    seed: int,
    total_kimg: float,
    batch_size: int,
    network: str = "dcgan",
    z_dim: int,
    G_channels: int,
    D_channels: int,
    G_conditioning: str = "batch_norm",
    D_conditioning: str = "projection",
    spectral_norm: bool = True,
    transition_kimg: tuple[float, float] | None = None,
    G_lr: float,
    D_lr: float,
    betas: Sequence[float],
    D_steps: int = 1,
    loss: str,
    r1_gamma: float,
    r1_interval: int,
    gradient_penalty: float = 0.0,
    lecam: float = 0.0,
    lecam_from_kimg: float = 0.0,
    augmentation: Sequence[str],
    augment_p: float | str = 1.0,
    ada_target: float = 0.6,
    ada_kimg: float = 100.0,
    flips: Sequence[str],
    ema_half_life_kimg: float,
    ema_rampup: float | None,
    freeze_D: int = 0,
    preview_kimg: float,
    precision: str = "auto",
    device: str = "cpu",
    init: Model | None = None,
    score: Score | None = None,
    score_inputs: Sequence[np.ndarray] = (),
    state_dir: str | Path | None = None,
    report: Callable[[dict[str, float], int], None] | None = None,
    description: str = "train_gan",
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Train and write `out_dir`: the model folder, `history.csv`, `samples/*.png`, `final.png` (those of the
    exported checkpoint) and `training.gif`.

    A step draws its data, latents and augmentation from streams named by the step's number, so a resumed
    training needs no generator's state and ends with the weights of one never killed.

    Args:
        images: Class name to (N, R, R, 3) uint8; arrays mapped from files are streamed if they are large.
            Labels are drawn uniformly over these classes, not by frequency.
        classes: The names that labels index, those of `images` among them.
        out_dir: Where; made if absent.
        seed: Of every random draw.
        total_kimg: Length in thousands of real images shown to D.
        batch_size: Images a step, in D and in G, over all ranks.
        network: Name in `architectures.NETWORKS`. The slides' networks come with conditioning and norms of
            their own.
        z_dim: Length of the latent vector.
        G_channels: Channels of G's last hidden layer.
        D_channels: Channels of D's first layer.
        G_conditioning: Name in `networks.G_CONDITIONINGS`.
        D_conditioning: Name in `networks.D_CONDITIONINGS`.
        spectral_norm: Of every layer of D.
        transition_kimg: Labels are faded in between these two moments (see `LabelEmbedding`); None for labels
            from the start.
        G_lr: Adam's rate for G.
        D_lr: Adam's rate for D.
        betas: Adam's (beta1, beta2), for both.
        D_steps: Of D for each of G.
        loss: Name in `losses.LOSSES`.
        r1_gamma: Weight of R1, taken every `r1_interval` steps; 0 for none.
        r1_interval: See `penalties.R1`.
        gradient_penalty: Weight of WGAN-GP's penalty; 0 for none.
        lecam: Weight of LeCam; 0 for none.
        lecam_from_kimg: LeCam begins here.
        augmentation: Names in `augment.AUGMENTATIONS`, applied to reals and fakes before D.
        augment_p: Probability of each operation, or "adaptive" (ADA).
        ada_target: Of ADA: mean sign of D's logits on reals.
        ada_kimg: Of ADA: thousands of images in which the probability can go from 0 to 1.
        flips: Any of "horizontal", "vertical": each real image is flipped with probability 1/2.
        ema_half_life_kimg: Half-life of G's running average.
        ema_rampup: See `ema.ema_beta`.
        freeze_D: So many of D's layers, from the image down, keep the weights of `init` (FreezeD, Mo et al.
            2020).
        preview_kimg: A tick every so many thousand images: a sample grid, the score on val, a history row.
        precision: auto, bf16 or fp32.
        device: cpu or cuda.
        init: Start from this model's weights instead of fresh ones; its networks take the place of those
            that the arguments describe.
        score: Samples of a tick, class name to (n, R, R, 3) uint8, to figures on val; the checkpoint with the
            lowest `kid` is exported. Without it, or without `kid` in its answer, the last one is.
        score_inputs: Arrays that the score depends on: a training goes on from its state only with the same.
        state_dir: Where a killed training goes on from; None to keep no state.
        report: Called with a tick's metrics and the number of images seen.
        description: The stage; stands at the progress bar and in messages.
        ranks: Who this process is among those that train together.

    Returns:
        Metrics of the exported checkpoint: the means of its tick (none for what `init` gave), `best_kimg`,
        `kid_val` and `coverage_val` where there is a score, `spread/<class>` (pixel spread of samples over that
        of the real images, near 0 where the class has collapsed to one picture), `stopped/<fault>` where one
        ended it.

    Raises:
        InputError: A batch that does not fit, a state that is damaged, or a fault (see `health`) before
            anything was worth keeping.
        Interrupted: A signal came; the state is saved.
    """
    out_dir = Path(out_dir)
    present = {name: classes.index(name) for name in images}
    config: dict[str, Any] = {"classes": classes, "img_resolution": next(iter(images.values())).shape[1]}
    config |= {
        "network": network, "z_dim": z_dim, "G_channels": G_channels, "D_channels": D_channels,
        "G_conditioning": G_conditioning, "D_conditioning": D_conditioning, "spectral_norm": spectral_norm,
        "transitional": transition_kimg is not None,
    }  # fmt: skip
    if init is not None:
        config |= {key: init.config[key] for key in ("classes", *SHAPE)}
    config["trained_on"] = list(images)
    _check(config, batch_size, loss, precision, ranks, device, description)

    # Networks and optimisers
    torch.manual_seed(stream_state(seed, "weights"))
    G, D = build(config)
    if init is not None:
        G.load_state_dict(init.G_ema.state_dict())
        D.load_state_dict(init.D.state_dict())
    G = G.to(device, memory_format=torch.channels_last).train()
    D = D.to(device, memory_format=torch.channels_last).train()
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    check_freeze_D(D, freeze_D, stage=description.split("@")[0])
    for layer in D.convs[:freeze_D]:
        layer.requires_grad_(False)
    D_trained = [weight for weight in D.parameters() if weight.requires_grad]
    on_gpu = device == "cuda"
    adam = {"betas": (float(betas[0]), float(betas[1])), "fused": True, "capturable": on_gpu}
    G_opt = torch.optim.Adam(G.parameters(), lr=G_lr, **adam)
    D_opt = torch.optim.Adam(D_trained, lr=D_lr, **adam)
    G_all, D_all = G, D  # as called where gradients are averaged over the ranks
    if ranks.world_size > 1:
        G_all, D_all = (DistributedDataParallel(network, broadcast_buffers=False) for network in (G, D))
    losses = LOSSES[loss]
    penalties = build_penalties(
        r1_gamma=r1_gamma, r1_interval=r1_interval, gradient_penalty=gradient_penalty, lecam=lecam,
        lecam_from_kimg=lecam_from_kimg, device=device,
    )  # fmt: skip
    has_dropout = any(isinstance(module, nn.Dropout) for module in D.modules())
    dtype = autocast_dtype(device, precision)
    draws = Draws(batch_size, ranks, device)
    data = place_data(
        images, list(present.values()), draws=Draws(batch_size, ranks), device=device, free_bytes=free_bytes(device)
    )
    adaptive = augment_p == "adaptive"
    p = torch.tensor(0.0 if adaptive else float(augment_p), device=device)
    sign_sum = torch.zeros((), device=device)  # of D's logits on reals, since p was last adjusted
    sums = torch.zeros(len(LOGGED), device=device)  # read once a tick: no host synchronisation in a step

    class_labels = torch.tensor(list(present.values()), device=device)

    def one_step(due: tuple[str, ...], reals: torch.Tensor, real_labels: torch.Tensor) -> None:
        """D_steps of D and one of G. Everything stays on the device.

        Args:
            due: Penalties that D pays.
            reals: (D_steps, N, 3, R, R) uint8.
            real_labels: (D_steps, N) int64.
        """
        for turn in range(D_steps):
            # D: real up, fake down. G draws its fakes once: those of D's last step are also G's own
            flipped = to_float(_flip(reals[turn], flips, draws))
            labels, z = class_labels[draws.integers(0, len(class_labels))], draws.normal(config["z_dim"])
            with torch.autocast(device, dtype=dtype, enabled=dtype is not None, cache_enabled=not on_gpu):
                with torch.set_grad_enabled(turn == D_steps - 1):
                    fakes = G_all(z, labels).float()
                seen = torch.cat(
                    [augment(flipped, augmentation, draws, p), augment(fakes.detach(), augmentation, draws, p)]
                )
                logits = D_all(seen, torch.cat([real_labels[turn], labels])).float()
            real_logits, fake_logits = logits.chunk(2)
            D_loss = losses.D(real_logits, fake_logits)
            paid = D_loss
            if due:
                step = DStep(*seen.chunk(2), real_labels[turn], labels, real_logits, fake_logits, draws.uniform())
                paid = D_loss + sum(penalties[name](D, step) for name in due)
            D_opt.zero_grad(set_to_none=True)
            paid.backward()
            D_opt.step()

        # G: fake up. D's weights are frozen here: their gradients would be computed and thrown away
        for weight in D_trained:
            weight.requires_grad_(False)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None, cache_enabled=not on_gpu):
            G_loss = losses.G(D(augment(fakes, augmentation, draws, p), labels).float())
        G_opt.zero_grad(set_to_none=True)
        G_loss.backward()
        G_opt.step()
        for weight in D_trained:
            weight.requires_grad_(True)

        with torch.no_grad():
            told = ((real_logits > losses.boundary).float() + (fake_logits <= losses.boundary).float()).mean() / 2
            sums.add_(torch.stack([D_loss, G_loss, real_logits.mean(), fake_logits.mean(), told]))
            sign_sum.add_((real_logits - losses.boundary).sign().mean())

    # Go on from a killed run, if there was one
    images_a_step = batch_size * D_steps
    total_steps = max(1, round(total_kimg * 1000 / images_a_step))
    steps_a_tick = max(1, round(preview_kimg * 1000 / images_a_step))
    first_step, history = 0, []
    best: dict[str, Any] = {"kid": float("inf"), "step": 0}
    modules = {"G": G, "D": D, "G_ema": G_ema, "G_opt": G_opt, "D_opt": D_opt}
    tensors = {"p": p, "sign_sum": sign_sum, "sums": sums}
    tensors |= {f"{name}.{key}": t for name, penalty in penalties.items() for key, t in penalty.state().items()}

    def changed() -> list[torch.Tensor]:
        """Every tensor that a step changes."""
        of_Adam = [t for opt in (G_opt, D_opt) for kept in opt.state.values() for t in kept.values()]
        return [*G.state_dict().values(), *D.state_dict().values(), *of_Adam, *tensors.values()]

    settings = {
        **config, "seed": seed, "total_kimg": total_kimg, "batch_size": batch_size, "transition": transition_kimg,
        "lr": [G_lr, D_lr], "betas": list(betas), "D_steps": D_steps, "loss": loss, "r1": [r1_gamma, r1_interval],
        "gradient_penalty": gradient_penalty, "lecam": [lecam, lecam_from_kimg], "augmentation": list(augmentation),
        "ada": [augment_p, ada_target, ada_kimg], "flips": list(flips), "ema": [ema_half_life_kimg, ema_rampup],
        "freeze_D": freeze_D, "preview_kimg": preview_kimg, "dtype": str(dtype), "device": device,
        "scored": score is not None,
    }  # fmt: skip
    started_from = [] if init is None else [*init.G_ema.state_dict().values(), *init.D.state_dict().values()]
    arrays = [*images.values(), *score_inputs, *(weight.detach().cpu().numpy().ravel() for weight in started_from)]
    key = "" if state_dir is None else fingerprint(arrays, settings)

    with TrainingState(state_dir, key, name=description) as saved:
        state = saved.load(device)
        if state is not None:
            for name, module in modules.items():
                module.load_state_dict(state[name])
            for name, tensor in tensors.items():
                tensor.copy_(state["tensors"][name])
            first_step, history, best = state["step"], state["history"], state["best"]
            print(f"{description}: going on from {state['position']}", flush=True)
        grids_dir = (saved.folder or out_dir) / "samples"  # in the state's folder they outlive a kill
        if ranks.rank == 0:
            grids_dir.mkdir(parents=True, exist_ok=True)

        def tick(step: int) -> dict[str, float]:
            """Look at the samples: grid, spread, figures on val; keep the weights if none were better."""
            drawn = _samples(G_ema, config["classes"], present, SCORED_PER_CLASS, seed, device)
            previews = np.concatenate([some[:PREVIEWS_PER_CLASS] for some in drawn.values()])
            grid(previews, PREVIEWS_PER_CLASS).save(grids_dir / f"{step:08d}.png")
            figures = {} if score is None else score(drawn)
            figures |= {f"spread/{name}": s for name, s in _spreads(drawn, images).items()}
            if (kid := figures.get("kid", -float(step))) < best["kid"]:  # no kid: the latest is the best
                best.update(kid=kid, step=step, figures=figures, G_ema=_clone(G_ema), D=_clone(D))
            return figures

        if init is not None and first_step == 0 and ranks.rank == 0:
            tick(0)  # it may be that nothing beats what it starts from
        fault = None
        every_step = capture(one_step, draws.generator, changed, enabled=on_gpu and ranks.world_size == 1)
        bar = tqdm(total=total_steps * images_a_step, initial=first_step * images_a_step, unit="img", desc=description,
                   disable=None if ranks.rank == 0 else True, mininterval=1.0)  # fmt: skip

        # Train
        for step in range(first_step, total_steps):
            draws.start(seed, step)
            if has_dropout:  # it draws from nowhere else
                torch.manual_seed(stream_state(seed, "dropout", step, ranks.rank))
            batches = [data.batch(step, seed, draws) for _ in range(D_steps)]
            due = tuple(name for name, penalty in penalties.items() if penalty.due(step, step * images_a_step))
            with named_when_out_of_memory(batch_size // ranks.world_size, device, stage=description.split("@")[0]):
                every_step(due, *(torch.stack(parts) for parts in zip(*batches, strict=True)))

            images_seen = (step + 1) * images_a_step
            average_weights(G_ema, G, ema_beta(images_seen, images_a_step, ema_half_life_kimg, ema_rampup))
            if transition_kimg is not None:
                for faded in (G, D, G_ema):
                    set_strength(faded, transition_strength(images_seen, transition_kimg))
            if adaptive and (step + 1) % ADA_INTERVAL == 0:
                adapt(p, average(sign_sum / ADA_INTERVAL), target=ada_target, images=ADA_INTERVAL * images_a_step,
                      ada_kimg=ada_kimg)  # fmt: skip
                sign_sum.zero_()
            bar.update(images_a_step)

            # Tick: curves, samples, their score
            if (step + 1) % steps_a_tick == 0 or step + 1 == total_steps:
                since = step + 1 - (history[-1]["step"] if history else 0)
                means = dict(zip(LOGGED, (average(sums) / since).tolist(), strict=True))
                sums.zero_()
                if ranks.rank == 0:
                    figures = {**means, "augment_p": p.item()}
                    if np.isfinite(list(means.values())).all():
                        figures |= tick(step + 1)
                    history.append({"step": step + 1, **figures})
                    fault = diagnose([_as_tick(row, total_steps, present) for row in history])
                    if report is not None:
                        report(figures, images_seen)
                if agree(fault is not None, device):
                    break
            if ranks.rank == 0 and saved.due():
                state = {name: module.state_dict() for name, module in modules.items()}
                saved.save(
                    {**state, "tensors": tensors, "step": step + 1, "history": history, "best": best},
                    f"{images_seen / 1000:.1f} of {total_kimg:g} kimg",
                )
        bar.close()

        # Write what was best
        if ranks.rank > 0:
            return {}
        if fault is not None and "G_ema" not in best:
            raise InputError(f"{description}: {fault[1]}, in params.yaml (after {images_seen / 1000:.1f} kimg).")
        best_kimg = best["step"] * images_a_step / 1000
        if fault is not None:
            said = f"stopped at {images_seen / 1000:.1f} kimg and went back to {best_kimg:.1f}: {fault[1]}"
            print(f"{description}: {said}", flush=True)
        G_ema.load_state_dict(best["G_ema"])
        D.load_state_dict(best["D"])
        save_model(out_dir, G_ema, D.eval(), config)
        _write_history(out_dir / "history.csv", history, images_a_step)
        if saved.folder is not None:
            shutil.copytree(grids_dir, out_dir / "samples")
        shutil.copyfile(out_dir / f"samples/{best['step']:08d}.png", out_dir / "final.png")
        save_film(sorted((out_dir / "samples").glob("*.png")), out_dir / "training.gif")

    figures = best["figures"]
    finals = {name: row[name] for row in history if row["step"] == best["step"] for name in LOGGED}
    finals |= {"best_kimg": best_kimg} | {key: value for key, value in figures.items() if key.startswith("spread/")}
    finals |= {f"{name}_val": figures[name] for name in ("kid", "coverage") if name in figures}
    return finals | ({} if fault is None else {f"stopped/{fault[0]}": 1.0})


def _check(
    config: dict[str, Any],
    batch_size: int,
    loss: str,
    precision: str,
    ranks: Ranks,
    device: str,
    description: str,
) -> None:
    """Everything that can be refused before any work."""
    stage = description.split("@")[0]
    for key, chosen, known in [
        ("loss", loss, list(LOSSES)),
        ("precision", precision, ["auto", "bf16", "fp32"]),
        ("network", config["network"], list(NETWORKS)),
    ]:
        if chosen not in known:
            raise InputError(f"{stage}.{key}: expected one of {known}, got '{chosen}'; set it in params.yaml.")
    if batch_size % ranks.world_size:
        raise InputError(
            f"{stage}.batch_size: expected a multiple of the {ranks.world_size} processes, got {batch_size}; "
            "set it in params.yaml."
        )
    check_batch(config, batch_size // ranks.world_size, free_bytes(device), stage=stage)


def _flip(images: torch.Tensor, flips: Sequence[str], draws: Draws) -> torch.Tensor:
    """Each image of (N, 3, R, R) with probability 1/2, along each named direction."""
    for name in flips:
        chosen = draws.uniform() < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(FLIPS[name]), images)
    return images


def _clone(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _samples(
    G_ema: nn.Module, classes: list[str], present: dict[str, int], count: int, seed: int, device: str
) -> dict[str, np.ndarray]:
    """The same `count` latents a class at every tick, and none that the exported set is drawn from."""
    return {
        name: np.stack(
            [image for _, image, _ in sample(G_ema, classes.index(name), f"tick:{name}", list(range(count)), seed=seed,
                                             device=device)]
        )
        for name in present
    }  # fmt: skip


def _spreads(drawn: dict[str, np.ndarray], images: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Class to mean standard deviation a pixel, of samples over that of (at most as many) real images."""
    reals = {name: images[name][:: max(1, len(images[name]) // 256)] for name in drawn}
    return {name: float(drawn[name].std(axis=0).mean() / max(reals[name].std(axis=0).mean(), 1e-6)) for name in drawn}


def _as_tick(row: dict[str, float], total_steps: int, present: Mapping[str, int]) -> Tick:
    nan = float("nan")
    return Tick(
        progress=row["step"] / total_steps,
        losses=(row["D_loss"], row["G_loss"]),
        spread={name: row.get(f"spread/{name}", nan) for name in present},
        D_accuracy=row["D_accuracy"],
        kid=row.get("kid", nan),
        coverage=row.get("coverage", nan),
    )


def _write_history(path: Path, history: list[dict[str, float]], images_a_step: int) -> None:
    columns = [key for key in dict.fromkeys(key for row in history for key in row) if key != "step"]
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["kimg", *columns])
        for row in history:
            kimg = row["step"] * images_a_step / 1000
            writer.writerow([f"{kimg:.3f}", *(f"{row[key]:.6f}" if key in row else "" for key in columns)])
