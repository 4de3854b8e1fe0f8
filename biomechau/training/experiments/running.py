"""Runs the trainings of an experiment in parallel processes."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.queues import SimpleQueue

import torch

from biomechau.corpus import Corpus
from biomechau.threads import one_thread
from biomechau.training.evaluation import Evaluation, evaluate
from biomechau.training.experiments._result_files import Failure, write_experiment
from biomechau.training.experiments.plan import Job, Plan
from biomechau.training.fold_training import train, weights_of_units


@dataclass(frozen=True)
class Progress:
    """Progress of an experiment.

    Attributes:
        job: that has just finished.
        evaluation: its result, None if it failed.
        done: number of trainings that are finished or failed, including those of earlier calls.
        total: number of all trainings.
        seconds: elapsed in this call.
        remaining: estimated remaining seconds.
    """

    job: Job
    evaluation: Evaluation | None
    done: int
    total: int
    seconds: float
    remaining: float


def run_experiment(
    plan: Plan,
    processes: int | None = None,
    command: str = "",
    report: Callable[[Progress], None] | None = None,
) -> tuple[Failure, ...]:
    """Run all trainings and tests that are not finished yet, and write the table after each training.

    An interrupted training continues after its last completed epoch; on the CPU the results do not depend on the number
    of processes.

    Args:
        plan: of the experiment.
        processes: number of parallel processes; :func:`usual_processes` if not given. 1 means this process.
        command: command line that started it, for the card.
        report: called when a training has finished.

    Returns:
        The trainings that failed; the others are not affected.

    Raises:
        ValueError: fewer than one process, an action unit without positives in a training, or a broken file.
        OSError: a file cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed; the same call continues.
    """
    processes = usual_processes(plan) if processes is None else processes
    if processes < 1:
        raise ValueError(f"jobs must be at least 1, got {processes}")
    found = {job: evaluation for job in plan.jobs if (evaluation := job.evaluation()) is not None}
    waiting = [job for job in plan.jobs if job not in found]
    check_positives(plan, waiting)
    plan.out.mkdir(parents=True, exist_ok=True)
    failures: list[Failure] = []
    write_experiment(plan, found, failures, command)
    start, count = time.monotonic(), len(found)
    for job, outcome in _outcomes(waiting, processes, plan.setup.base.accelerator):
        if isinstance(outcome, Evaluation):
            found[job] = outcome
        else:
            failures.append(Failure(job, outcome))
        write_experiment(plan, found, failures, command)
        if report is not None:
            done, seconds = len(found) + len(failures), time.monotonic() - start
            remaining = seconds / (done - count) * (len(plan.jobs) - done)
            evaluation = outcome if isinstance(outcome, Evaluation) else None
            report(Progress(job, evaluation, done, len(plan.jobs), seconds, remaining))
    return tuple(failures)


def usual_processes(plan: Plan) -> int:
    """One process per GPU if training uses GPUs, otherwise one per core; no more than there are trainings."""
    gpus = num_gpus(plan.setup.base.accelerator)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(gpus or cores, len(plan.jobs)))


def num_gpus(accelerator: str) -> int:
    """Number of CUDA devices that a training with this accelerator may use."""
    return torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else 0


def check_positives(plan: Plan, jobs: Sequence[Job]) -> None:
    """Check before the first training that all of them have positives of every action unit.

    Raises:
        ValueError: a training lacks positives; the message names it.
    """
    seen = set()
    for job in jobs:
        config = job.run.config
        drawn = config.seed if config.label_share < 1 else 0
        case = (job.row.train_on, job.fold, config.label_share, drawn, config.detector.action_units)
        if case not in seen:
            seen.add(case)
            try:
                weights_of_units(plan.setup.corpora[job.row.train_on], job.run.fold, config)
            except ValueError as error:
                raise ValueError(f"{job}: {error}") from error


def run_job(job: Job) -> Evaluation:
    """Train, test, and save the evaluation in the folder of the run."""
    corpus = Corpus.open(job.train_on)
    with warnings.catch_warnings():
        # Noted in the card of the experiment.
        warnings.filterwarnings("ignore", ".*has no meshes of its own")
        run = train(corpus, job.run.fold, job.run.config, job.run.path, progress=False, resume=True)
    tested = corpus if job.test_on is None else Corpus.open(job.test_on)
    evaluation = evaluate(run, tested, None if job.test_on is None else tested.subjects)
    evaluation.save(run.path)
    return evaluation


def _outcomes(jobs: Sequence[Job], processes: int, accelerator: str) -> Iterator[tuple[Job, Evaluation | str]]:
    """Each job when it has finished, with its evaluation or the reason of its failure."""
    if processes == 1:
        with one_thread():
            for job in jobs:
                try:
                    yield job, run_job(job)
                except Exception as error:
                    yield job, _words(error)
        return
    context = get_context("spawn")  # forked processes cannot use CUDA, nor threads that their parent has started
    gpus: SimpleQueue[str] = context.SimpleQueue()
    for number in range(processes):
        gpus.put(gpu_of(number, num_gpus(accelerator)))
    others = set(active_children())
    pool = ProcessPoolExecutor(min(processes, len(jobs)) or 1, context, _start_worker, (gpus,))
    try:
        futures: dict[Future[Evaluation], Job] = {pool.submit(run_job, job): job for job in jobs}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], future.result() if error is None else _words(error)
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Nothing is lost: trainings write their files atomically.
        for child in set(active_children()) - others:
            child.kill()
        raise


def _start_worker(gpus: SimpleQueue[str]) -> None:
    # Ctrl-C reaches all processes of a terminal; the main process terminates the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if gpu := gpus.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _end_with_parent() -> None:
    """Exit with the main process, so that no worker keeps writing after it was killed."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def gpu_of(number: int, count: int) -> str:
    """The GPU of a process, as in CUDA_VISIBLE_DEVICES; empty without GPUs."""
    if not count:
        return ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(count)]
    return names[number % count]


def _words(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, (ValueError, OSError)) and words else f"{type(error).__name__}: {words}"
