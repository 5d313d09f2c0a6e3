"""The training of a class-conditional DCGAN: one function, its state its locals, read from top to bottom.

Used for the joint model over all classes and, started from it, for one class.
"""

from __future__ import annotations

import copy
import csv
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pipeline import InputError
from pipeline.gan.augment import augment
from pipeline.gan.checkpoint import Model, build, fingerprint, load_state, save_model, save_state
from pipeline.gan.losses import LOSSES, r1_penalty
from pipeline.gan.previews import grid, save_film
from pipeline.gan.sampling import sample, to_float
from pipeline.images.seeding import torch_generator

PREVIEWS_PER_CLASS = 8
SPREAD_SAMPLES = 32
SECONDS_BETWEEN_STATES = 30.0
COLUMNS = ("D_loss", "G_loss", "real_logits", "fake_logits")


def autocast_dtype(device: str, precision: str) -> torch.dtype | None:
    """bfloat16 where it is asked for, or where `auto` finds hardware for it; None for float32."""
    if precision == "auto":
        cuda = device == "cuda" and torch.cuda.is_bf16_supported()
        cpu = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if cuda or cpu else None
    return {"bf16": torch.bfloat16, "fp32": None}[precision]


def train(
    images: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    out_dir: str | Path,
    *,
    seed: int,
    total_kimg: float,
    batch_size: int,
    z_dim: int,
    G_channels: int,
    D_channels: int,
    G_lr: float,
    D_lr: float,
    betas: Sequence[float],
    loss: str,
    r1_gamma: float,
    r1_interval: int,
    augmentation: Sequence[str],
    flips: Sequence[str],
    ema_half_life_kimg: float,
    ema_rampup: float | None,
    preview_kimg: float,
    precision: str = "auto",
    device: str = "cpu",
    init: Model | None = None,
    state_dir: str | Path | None = None,
    report: Callable[[dict[str, float], int], None] | None = None,
    description: str = "GAN",
) -> dict[str, float]:
    """Train and write `out_dir`: the model folder, `history.csv`, `samples/*.png`,
    `final.png` (the last of them) and `training.gif`.

    A step draws its data, latents and augmentation from streams named by the step's number, so a resumed
    training needs no generator's state and ends with the weights of one never killed.

    Args:
        images: (N, R, R, 3) uint8.
        labels: (N,) int64, index into `classes`.
        classes: The names the labels index. Labels are drawn uniformly over those present, not by frequency.
        out_dir: Where; made if absent.
        seed: Of every random draw.
        total_kimg: Length in thousands of real images shown to D.
        batch_size: Images a step, in D and in G.
        z_dim: Length of the latent vector.
        G_channels: Channels of G's last hidden layer.
        D_channels: Channels of D's first layer.
        G_lr: Adam's rate for G.
        D_lr: Adam's rate for D.
        betas: Adam's (beta1, beta2), for both.
        loss: Name in `losses.LOSSES`.
        r1_gamma: Weight of the R1 penalty on D; 0 for none.
        r1_interval: The penalty is taken every so many steps, at that many times its weight ("lazily",
            Karras et al. 2020, appendix B).
        augmentation: Names in `augment.AUGMENTATIONS`, applied to reals and fakes before D.
        flips: Any of "horizontal", "vertical": each real image is flipped with probability 1/2.
        ema_half_life_kimg: Half-life of G's running average, in thousands of images.
        ema_rampup: The half-life is at most this share of the images seen so far; None for no ramp.
        preview_kimg: A sample grid and a history row every so many thousand images.
        precision: auto, bf16 or fp32.
        device: cpu or cuda.
        init: Start from this model's weights instead of fresh ones.
        state_dir: Where a killed training goes on from; None to keep no state.
        report: Called with a history row's metrics and the number of images seen.
        description: Shown at the progress bar.

    Returns:
        Final metrics: the last history row, and `spread/<class>`: per-pixel standard deviation of samples
        over that of the real images (near 0 where the class has collapsed to one picture).

    Raises:
        InputError: An unknown name, or logits that are no longer numbers.
    """
    for key, chosen, known in [("loss", [loss], LOSSES), ("precision", [precision], ("auto", "bf16", "fp32"))]:
        if chosen[0] not in known:
            raise InputError(
                f"train_gan.{key}: expected one of {list(known)}, got '{chosen[0]}'; set it in params.yaml."
            )
    out_dir = Path(out_dir)
    img_resolution = images.shape[1]
    config: dict[str, Any] = {
        "classes": classes,
        "trained_on": [classes[k] for k in np.unique(labels)],
        "img_resolution": img_resolution,
        "z_dim": z_dim,
        "G_channels": G_channels,
        "D_channels": D_channels,
    }
    if init is not None:
        config.update(
            {key: init.config[key] for key in ("classes", "img_resolution", "z_dim", "G_channels", "D_channels")}
        )

    # Networks and optimisers
    torch.manual_seed(int(torch_generator(seed, "weights").initial_seed() % 2**63))
    G, D = build(config)
    if init is not None:
        G.load_state_dict(init.G_ema.state_dict())
        D.load_state_dict(init.D.state_dict())
    G = G.to(device, memory_format=torch.channels_last).train()
    D = D.to(device, memory_format=torch.channels_last).train()
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    G_opt = torch.optim.Adam(G.parameters(), lr=G_lr, betas=(float(betas[0]), float(betas[1])), fused=True)
    D_opt = torch.optim.Adam(D.parameters(), lr=D_lr, betas=(float(betas[0]), float(betas[1])), fused=True)
    losses = LOSSES[loss]
    dtype = autocast_dtype(device, precision)

    # The data lives on the device as uint8, grouped by class
    data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)  # (N, 3, R, R)
    present = np.unique(labels)
    rows = torch.from_numpy(np.argsort(labels, kind="stable")).to(device)
    counts = torch.tensor([int((labels == k).sum()) for k in present], device=device)
    starts = counts.cumsum(0) - counts
    class_ids = torch.from_numpy(present).to(device)
    flip_dims = [{"vertical": 2, "horizontal": 3}[name] for name in flips]

    def draw_reals(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch: class uniform, then image uniform within the class, then flips."""
        which = torch.randint(len(class_ids), (batch_size,), generator=rng, device=device)
        within = (torch.rand(batch_size, generator=rng, device=device) * counts[which]).long()
        batch = to_float(data[rows[starts[which] + within]])
        for dim in flip_dims:
            flipped = torch.rand(batch_size, 1, 1, 1, generator=rng, device=device) < 0.5
            batch = torch.where(flipped, batch.flip(dim), batch)
        return batch.contiguous(memory_format=torch.channels_last), class_ids[which]

    def draw_latents(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        z = torch.randn(batch_size, z_dim, generator=rng, device=device)
        which = torch.randint(len(class_ids), (batch_size,), generator=rng, device=device)
        return z, class_ids[which]

    def preview() -> np.ndarray:
        indices = list(range(PREVIEWS_PER_CLASS))
        shown = [sample(G_ema, int(k), config["classes"][k], indices, seed=seed, device=device) for k in present]
        return np.stack([image for drawn in shown for _, image, _ in drawn])

    # Go on from a killed run, if there was one
    total_steps = max(1, round(total_kimg * 1000 / batch_size))
    steps_a_tick = max(1, round(preview_kimg * 1000 / batch_size))
    first_step, history = 0, []
    grids_dir = out_dir / "samples"
    if state_dir is not None:
        started_from = (
            None if init is None else {k: v.double().sum().item() for k, v in init.G_ema.state_dict().items()}
        )
        settings = {
            **config,
            "init": started_from,
            "seed": seed,
            "total_kimg": total_kimg,
            "batch_size": batch_size,
            "lr": [G_lr, D_lr],
            "betas": list(betas),
            "loss": loss,
            "r1": [r1_gamma, r1_interval],
            "augmentation": list(augmentation),
            "flips": list(flips),
            "ema": [ema_half_life_kimg, ema_rampup],
            "preview_kimg": preview_kimg,
            "dtype": str(dtype),
            "device": device,
        }
        state_dir = Path(state_dir) / fingerprint(images, labels, settings)
        grids_dir = state_dir / "samples"
        state = load_state(state_dir, device)
        if state is not None:
            for module, name in [(G, "G"), (D, "D"), (G_ema, "G_ema"), (G_opt, "G_opt"), (D_opt, "D_opt")]:
                module.load_state_dict(state[name])
            first_step, history = state["step"], state["history"]
            print(f"{description}: going on from {first_step * batch_size / 1000:.1f} of {total_kimg:g} kimg")
    grids_dir.mkdir(parents=True, exist_ok=True)

    # Train
    sums = torch.zeros(len(COLUMNS), device=device)  # read once a tick: no host synchronisation in a step
    last_saved = time.monotonic()
    bar = tqdm(total=total_steps * batch_size, initial=first_step * batch_size, unit="img", desc=description,
               disable=None, mininterval=1.0)  # fmt: skip
    for step in range(first_step, total_steps):
        rng = torch_generator(seed, "step", step, device=device)

        # D: real up, fake down
        reals, real_labels = draw_reals(rng)
        z, fake_labels = draw_latents(rng)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            with torch.no_grad():
                fakes = G(z, fake_labels)
            seen = torch.cat([augment(reals, augmentation, rng), augment(fakes.float(), augmentation, rng)])
            logits = D(seen, torch.cat([real_labels, fake_labels])).float()
            real_logits, fake_logits = logits[:batch_size], logits[batch_size:]
            D_loss = losses.D(real_logits, fake_logits)
        D_opt.zero_grad(set_to_none=True)
        D_loss.backward()
        if r1_gamma > 0 and step % r1_interval == 0:
            penalty = r1_penalty(D, seen[:batch_size], real_labels)
            (penalty * (r1_gamma / 2 * r1_interval)).backward()
        D_opt.step()

        # G: fake up. D's weights are frozen here: their gradients would be computed and thrown away
        z, fake_labels = draw_latents(rng)
        D.requires_grad_(False)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            G_loss = losses.G(D(augment(G(z, fake_labels).float(), augmentation, rng), fake_labels).float())
        G_opt.zero_grad(set_to_none=True)
        G_loss.backward()
        G_opt.step()
        D.requires_grad_(True)

        # EMA of G's weights; batch norm's running statistics are copied
        images_seen = (step + 1) * batch_size
        half_life = ema_half_life_kimg * 1000
        if ema_rampup is not None:
            half_life = min(half_life, images_seen * ema_rampup)
        beta = 0.5 ** (batch_size / max(half_life, 1e-8))
        with torch.no_grad():
            torch._foreach_lerp_(list(G_ema.parameters()), list(G.parameters()), 1 - beta)
            for averaged, current in zip(G_ema.buffers(), G.buffers(), strict=True):
                averaged.copy_(current)
            sums += torch.stack([D_loss, G_loss, real_logits.mean(), fake_logits.mean()])
        bar.update(batch_size)

        # Tick: curves, a sample grid
        if (step + 1) % steps_a_tick == 0 or step + 1 == total_steps:
            since = step + 1 - (history[-1][0] if history else 0)
            means = (sums / since).tolist()
            sums.zero_()
            if not np.isfinite(means).all():
                raise InputError(
                    f"{description}: the losses are no longer numbers after {images_seen / 1000:.1f} kimg; "
                    "lower G_lr and D_lr (or set precision: fp32) in params.yaml."
                )
            history.append([step + 1, *means])
            grid(preview(), PREVIEWS_PER_CLASS).save(grids_dir / f"{len(history):04d}.png")
            if report is not None:
                report(dict(zip(COLUMNS, means, strict=True)), images_seen)
            # State is saved at ticks, where the accumulators are empty
            if state_dir is not None and time.monotonic() - last_saved > SECONDS_BETWEEN_STATES:
                save_state(state_dir, {"G": G.state_dict(), "D": D.state_dict(), "G_ema": G_ema.state_dict(),
                                       "G_opt": G_opt.state_dict(), "D_opt": D_opt.state_dict(),
                                       "step": step + 1, "history": history})  # fmt: skip
                last_saved = time.monotonic()
    bar.close()

    # Write
    D.eval()
    save_model(out_dir, G_ema, D, config)
    with open(out_dir / "history.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["kimg", *COLUMNS])
        writer.writerows([f"{s * batch_size / 1000:.3f}", *(f"{v:.6f}" for v in row)] for s, *row in history)
    if state_dir is not None:
        shutil.copytree(grids_dir, out_dir / "samples")
        shutil.rmtree(state_dir)
    grids = sorted((out_dir / "samples").glob("*.png"))
    shutil.copyfile(grids[-1], out_dir / "final.png")
    save_film(grids, out_dir / "training.gif")

    finals = dict(zip(COLUMNS, history[-1][1:], strict=True))
    for k in present:
        real_spread = images[labels == k].std(axis=0).mean()
        drawn = sample(G_ema, int(k), config["classes"][k], list(range(SPREAD_SAMPLES)), seed=seed, device=device)
        fake_spread = np.stack([image for _, image, _ in drawn]).std(axis=0).mean()
        finals[f"spread/{config['classes'][k]}"] = float(fake_spread / max(real_spread, 1e-6))
    return finals
