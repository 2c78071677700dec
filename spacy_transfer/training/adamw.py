"""AdamW: steps all weights of a torch network at once, and any other Thinc model as Thinc does."""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from thinc.api import Optimizer
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ..errors import T005, T332, T337, T339
from ..log import logger
from ..nn.encoders.adapters import is_factor
from ..nn.static.body import tables_of
from .loop.rates import WarmupLinear

# A weight's moving average starts as the weight and slows down to this decay, as in Thinc.
_MAX_AVERAGE_DECAY = 0.9999


class AdamW(Optimizer):  # type: ignore[misc]
    """Bias-corrected Adam with decoupled weight decay, `spacy-transfer.AdamW.v1`.

    Our networks are stepped whole, by torch's fused kernel; other components of the pipeline weight by weight with the
    same settings, as by Thinc's own Adam. Of the tables of a static encoder only the rows that have a gradient are
    stepped, and their moments are kept in between.

    learn_rate (float | schedule): A number, a schedule of Thinc, or `spacy-transfer.WarmupLinear.v1`.
    weight_decay (float): Decoupled; not applied to biases and norms (weights of one dimension), nor to IA3's factors.
    beta1 (float): Of Adam.
    beta2 (float): Of Adam.
    eps (float): Of Adam.
    grad_clip (float): Largest global norm of all gradients of a network together; 0 does not clip. For other components
        Thinc clips each weight by itself.
    use_averages (bool): Keep moving averages of the weights; evaluation and saving then use them.
    SOURCE: Loshchilov & Hutter 2019, arXiv:1711.05101; bias correction matters for short runs: Mosbach et al. 2021,
        arXiv:2006.04884; rows alone: as torch.optim.SparseAdam.
    """

    def __init__(
        self,
        *,
        learn_rate: object = 5e-5,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        grad_clip: float = 1.0,
        use_averages: bool = False,
    ) -> None:
        # The config system hands a number in quotes on as a str.
        weight_decay, beta1, beta2, eps, grad_clip = map(float, (weight_decay, beta1, beta2, eps, grad_clip))
        for field, value, good, want in (
            ("weight_decay", weight_decay, 0.0 <= weight_decay <= 1.0, "0 to 1"),
            ("beta1", beta1, 0.0 <= beta1 < 1.0, "0 <= beta1 < 1"),
            ("beta2", beta2, 0.0 <= beta2 < 1.0, "0 <= beta2 < 1"),
            ("eps", eps, eps > 0.0, "above 0"),
            ("grad_clip", grad_clip, grad_clip >= 0.0, "0 or more"),
        ):
            if not good:
                raise ValueError(T005.format(block="optimizer", field=field, value=value, want=want))
        if isinstance(learn_rate, str):
            raise ValueError(T332.format(key="optimizer.learn_rate", value=learn_rate))
        try:
            super().__init__(
                learn_rate, L2=weight_decay, beta1=beta1, beta2=beta2, eps=eps, grad_clip=grad_clip,
                use_averages=use_averages, L2_is_weight_decay=True,
            )  # fmt: skip
            rate = float(self.learn_rate)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(T339.format(reason=str(error).splitlines()[-1])) from error
        if not 0.0 <= rate < float("inf"):
            raise ValueError(T005.format(block="optimizer", field="learn_rate", value=rate, want="0 or more"))
        # Steps of each network since the schedules last moved on.
        self._n_unmoved: dict[int, int] = {}
        self._told = False
        self._networks: WeakKeyDictionary[nn.Module, torch.optim.AdamW] = WeakKeyDictionary()
        # Asked once: looking through all modules in each step holds up a GPU.
        self._has_tables: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
        # Global norm before clipping at the last step, (); stays on its device, since fetching it would hold up a GPU.
        self.grad_norm: Tensor | None = None

    def step_network(
        self,
        owner: int,
        network: nn.Module,
        weights: Mapping[str, nn.Parameter],
        rates: Mapping[str, float],
        scale: float,
    ) -> Tensor:
        """Move the weights that have a gradient.

        owner (int): Id of the shim, under which averages are kept.
        network (nn.Module): Whose weights they are.
        weights (Mapping): Moving weights by name.
        rates (Mapping): Factor on the learning rate of each.
        scale (float): Factor on the summed gradients: one over the number of documents.
        RETURNS (Tensor): 1 where a gradient that is not finite has kept the weights as they were, else 0; ().
        """
        torch_adam = self._networks.get(network)
        if torch_adam is None:
            torch_adam = self._networks[network] = _new_adam()
        if network not in self._has_tables:
            self._has_tables[network] = bool(tables_of(network))
        tables = {id(table) for table in tables_of(network)} if self._has_tables[network] else set()
        _regroup(torch_adam, {name: w for name, w in weights.items() if id(w) not in tables}, rates)
        _follow(torch_adam, weights)
        norms = torch._foreach_norm([w.grad for w in weights.values() if w.grad is not None])
        norm = torch.linalg.vector_norm(torch.stack(list(norms))) * scale
        # Dividing by the number of documents and clipping are one factor, which the fused kernel applies as it reads.
        factor = (
            scale * (float(self.grad_clip) / (norm + 1e-6)).clamp(max=1.0) if self.grad_clip else scale + 0.0 * norm
        )
        rate = self._rate_for(owner)
        betas, eps, decay = (float(self.b1), float(self.b2)), float(self.eps), float(self.L2)
        for group in torch_adam.param_groups:
            group["lr"], group["betas"], group["eps"] = rate * group["rate"], betas, eps
            group["weight_decay"] = decay if group["decays"] else 0.0
        torch_adam.grad_scale = 1.0 / factor  # type: ignore[attr-defined]
        # A gradient that is no finite number would spoil every weight for good: the kernel leaves the step out.
        found_inf = (~torch.isfinite(norm)).float()
        torch_adam.found_inf = found_inf  # type: ignore[attr-defined]
        self.grad_norm = norm
        torch_adam.step()
        for name, weight in weights.items():
            if id(weight) in tables:
                _step_rows(
                    torch_adam, weight, lr=rate * rates[name], weight_decay=decay, beta1=betas[0], beta2=betas[1],
                    eps=eps, grad_scale=1.0 / factor, found_inf=found_inf,
                )  # fmt: skip
        self._average(owner, weights)
        return found_inf

    def step_schedules(self) -> None:
        """Move all schedules on by a step; a training loop does so after every update."""
        self._n_unmoved.clear()
        super().step_schedules()

    def _rate_for(self, owner: int) -> float:
        """The rate of a network's step. A loop of `nlp.update` moves no schedule on: it shall not stay where a warm-up
        begins."""
        n_unmoved = self._n_unmoved[owner] = self._n_unmoved.get(owner, 0) + 1
        rate, schedule = float(self.learn_rate), self.schedules.get("learn_rate")
        if n_unmoved > 1 and schedule is not None:
            if isinstance(schedule, WarmupLinear):
                return schedule.peak
            if not rate and not self._told:
                self._told = True
                logger.warning(T337)
        return rate

    def network_moments(self, network: nn.Module) -> dict[str, dict[str, Tensor]]:
        """What is remembered of each weight that has moved, by its name: step (), exp_avg, exp_avg_sq (its shape)."""
        torch_adam = self._networks.get(network)
        if torch_adam is None:
            return {}
        states = torch_adam.state
        return {name: dict(states[weight]) for name, weight in network.named_parameters() if weight in states}

    def take_network_moments(self, network: nn.Module, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take what `network_moments` gave, copied."""
        torch_adam = self._networks[network] = _new_adam()
        weights = dict(network.named_parameters())
        for name, state in moments.items():
            device = weights[name].device
            torch_adam.state[weights[name]] = {key: value.to(device, copy=True) for key, value in state.items()}

    def _average(self, owner: int, weights: Mapping[str, nn.Parameter]) -> None:
        if self.averages is None:
            return
        # By their share of the new weight: at a GPU all of one share are one launch.
        following: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        for name, weight in weights.items():
            key = (owner, name)
            self.nr_update[key] += 1
            average = self.averages.get(key)
            if average is None or average.shape != weight.shape:
                self.averages[key] = weight.detach().clone()
                continue
            if average.device != weight.device:
                average = self.averages[key] = average.to(weight.device)
            t = self.nr_update[key]
            share = 1.0 - min((1.0 + t) / (10.0 + t), _MAX_AVERAGE_DECAY)
            averages, moved = following.setdefault(share, ([], []))
            averages.append(average)
            moved.append(weight.detach())
        for share, (averages, moved) in following.items():
            torch._foreach_lerp_(averages, moved, share)


def _new_adam() -> torch.optim.AdamW:
    adam = torch.optim.AdamW([torch.zeros(())], foreach=False, fused=False)
    adam.param_groups.clear()
    return adam


@torch.no_grad()
def _step_rows(
    adam: torch.optim.AdamW, table: nn.Parameter, *, lr: float, weight_decay: float, beta1: float, beta2: float,
    eps: float, grad_scale: Tensor, found_inf: Tensor,
) -> None:  # fmt: skip
    """Step the rows of a table that have a gradient; its moments are kept with those of the other weights."""
    grad, state = table.grad, adam.state[table]
    if grad is None:
        return
    if not state:
        state["step"] = torch.zeros((), device=table.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
    rows = (grad != 0.0).any(dim=1).nonzero().squeeze(1)
    wholes = [table, state["exp_avg"], state["exp_avg_sq"]]
    weight, mean, square = (whole[rows] for whole in wholes)
    adamw(
        [weight], [grad[rows]], [mean], [square], [], [state["step"]], fused=True, amsgrad=False, maximize=False,
        grad_scale=grad_scale, found_inf=found_inf, lr=lr, weight_decay=weight_decay, beta1=beta1, beta2=beta2, eps=eps,
    )  # fmt: skip
    for whole, part in zip(wholes, (weight, mean, square), strict=True):
        whole.index_copy_(0, rows, part)


def _follow(adam: torch.optim.AdamW, weights: Mapping[str, nn.Parameter]) -> None:
    """A network that was moved to another device takes its moments along. All of it is on one, so the first weight that
    has moments tells."""
    known = next(((weight, state) for weight in weights.values() if (state := adam.state.get(weight))), None)
    if known is not None and known[1]["exp_avg"].device != (device := known[0].device):
        for state in adam.state.values():
            state.update({key: value.to(device) for key, value in state.items()})


def _regroup(adam: torch.optim.AdamW, weights: Mapping[str, nn.Parameter], rates: Mapping[str, float]) -> None:
    """Make the groups fit the trainable weights: one per rate, with and without decay. Moments stay with weights."""
    wanted: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in weights.items():
        wanted.setdefault((rates[name], weight.ndim > 1 and not is_factor(name)), []).append(weight)
    have = {(group["rate"], group["decays"]): group["params"] for group in adam.param_groups}
    if have.keys() == wanted.keys() and all(
        len(have[key]) == len(params) and all(a is b for a, b in zip(have[key], params, strict=True))
        for key, params in wanted.items()
    ):
        return
    adam.param_groups.clear()
    for (rate, decays), params in wanted.items():
        adam.add_param_group({"params": params, "rate": rate, "decays": decays, "fused": True})
