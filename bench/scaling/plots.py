"""Plots of simulated fleets over time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.scaling.fleet import Replica, Run
from bench.scaling.traffic import HOUR_S, Series, Traffic


def plot_days(name: str, run: Run, replica: Replica, file: Path) -> None:
    """Plot uploads and capacity, replicas, backlog and delay over three days."""
    hours = np.arange(len(run.arrived) // 60) / 60
    figure, (rates, replicas, backlog, delay) = plt.subplots(4, figsize=(10, 9), sharex=True)
    rates.plot(hours, _per_minute(run.replicas) * replica.per_s, color="tab:orange", label="capacity")
    rates.plot(hours, _per_minute(run.arrived), color="tab:blue", linewidth=0.8, label="uploads")
    rates.set_ylim(0, 2.2 * np.percentile(run.arrived, 99))
    _label(rates, "images per second", legend=True)
    replicas.plot(hours, _per_minute(run.replicas), color="tab:orange")
    _label(replicas, "replicas")
    backlog.plot(hours, _per_minute(run.backlog), color="tab:red")
    backlog.set_yscale("symlog", linthresh=100)
    _label(backlog, "backlog")
    delay.plot(hours, run.delays().reshape(-1, 60).max(axis=1), color="tab:purple")
    delay.set_yscale("log")
    _label(delay, "maximum delay, s")
    delay.set_xlabel("hours")
    delay.set_xticks(range(0, len(run.arrived) // HOUR_S + 1, 6))
    _save(figure, name, file)


def plot_burst(runs: Mapping[str, Run], traffic: Traffic, file: Path) -> None:
    """Plot replicas and backlog of several fleets in the hour of the burst."""
    window = slice(traffic.burst_start_s - 300, traffic.burst_start_s + 3300)
    minutes = np.arange(-300, 3300) / 60
    figure, (replicas, backlog) = plt.subplots(2, figsize=(10, 5), sharex=True)
    for name, run in runs.items():
        replicas.plot(minutes, run.replicas[window], label=name)
        backlog.plot(minutes, run.backlog[window] / 1000)
    _label(replicas, "replicas", legend=True)
    _label(backlog, "backlog, thousands")
    backlog.set_xlabel("minutes since the start of the burst")
    _save(figure, "A million uploads in ten minutes", file)


def _per_minute(series: Series) -> Series:
    means: Series = series.reshape(-1, 60).mean(axis=1)
    return means


def _label(axes: Axes, text: str, *, legend: bool = False) -> None:
    axes.set_ylabel(text)
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    if legend:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _save(figure: Figure, title: str, file: Path) -> None:
    figure.suptitle(title, x=0.07, horizontalalignment="left")
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    plt.close(figure)
