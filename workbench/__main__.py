"""The command line: `workbench list | run | sweep | fit | claims | predict | dashboard | data | check | doctor`."""

import ast
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import AvoidSubcommands, Positional, UseAppendAction, arg, subcommand

from workbench import runs
from workbench.config import parse
from workbench.errors import WorkbenchError, unknown

Pairs = Annotated[UseAppendAction[tuple[str, ...]], arg(name="p", aliases=["-p"], metavar="KEY=VALUE")]
Preset = Annotated[str, arg(metavar="{tiny,demo,paper}")]  # checked by method.preset, which names the nearest
app = tyro.extras.SubcommandApp()


@app.command(name="list")
def list_all(runs_folder: Annotated[Path | None, arg(name="runs")] = None) -> None:
    """Show the methods, the baselines and the runs.

    Args:
        runs_folder: Where the runs are; default $WORKBENCH_RUNS or ./runs.
    """
    for package in ("methods", "baselines"):
        print(f"{package}:")
        for path in sorted((Path(__file__).parent / package).glob("[!_]*")):
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                print(f"  {path.stem:<14} {first_line(path)}")
    found = runs.find(runs_folder)
    print(f"runs in {runs_folder or runs.root_folder()}: {len(found) or 'none yet'}")
    for run in found:
        label = "" if run.state.startswith("broken") else f"{run.arm} seed {run.seed}"
        print(f"  {run.name}/{run.id}  {label:<24} {run.state}")


def first_line(path: Path) -> str:
    """The first line of a module's docstring, without importing it."""
    file = path if path.is_file() else path / "__init__.py"
    doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return doc.split("\n")[0].split(": ", 1)[-1]


@app.command(name="run")
def run_notebook(
    name: Positional[str],
    p: Pairs = (),
    preset: Preset = "tiny",
    runs_folder: Annotated[Path | None, arg(name="runs")] = None,
) -> None:
    """Run a method's notebook under papermill: the method beside its rivals, with table, pictures and report.

    Args:
        name: A method, `workbench list` shows them, `workbench run NAME --help` its settings; or a notebook's path.
        p: A setting, such as -p epochs=3 or -p root=FOLDER; may be repeated.
        preset: tiny is small and synthetic, demo uses real images that come with scikit-image, paper is full scale.
        runs_folder: Where runs are kept; default $WORKBENCH_RUNS or ./runs.
    """
    from workbench import notebooks

    source = notebooks.find(name)
    base, prepare = preparation(source, preset)
    asked = base | parse(p)
    notebooks.run(name, asked, (runs_folder or runs.root_folder()).absolute(), prepare(asked))


@app.command(name="sweep")
def sweep_grid(
    name: Positional[str],
    p: Pairs = (),
    grid: Path | None = None,
    preset: Preset = "tiny",
    jobs: int = 2,
    on: str = "",
    dry_run: bool = False,
    yes: bool = False,
    again: bool = False,
    trials: int = 0,
    goal: str = "",
    runs_folder: Annotated[Path | None, arg(name="runs")] = None,
) -> None:
    """Run a notebook over a grid of parameters; what is finished is reused, what is half done resumes.

    Args:
        name: A method, the path of any notebook with a cell tagged `parameters`, or `all` for every notebook here.
        p: Values of a parameter: -p lr=1e-3,1e-4 -p seeds=1:4 (1, 2, 3); quote what holds a comma; may be repeated.
        grid: A YAML file with lines such as `lr: [1e-3, 1e-4]`; -p replaces its lines.
        preset: As of `workbench run`; for methods.
        jobs: Runs at a time, each in its own process.
        on: Where to run: dask://HOST:PORT, or slurm with options of submitit, as slurm:partition=gpu,timeout_min=60.
        dry_run: Show the runs, and which are there.
        yes: Do not ask before a thousand runs and more.
        again: Run what is finished, too.
        trials: Search with Optuna: so many runs, with values out of -p, where -p lr=1e-5:1e-2:log is a range.
        goal: What a search wants: max:NAME or min:NAME of a score.
        runs_folder: Where runs are kept; default $WORKBENCH_RUNS or ./runs.
    """
    from workbench import notebooks, sweep
    from workbench.sweep import grid as grids

    sources = notebooks.every() if name == "all" else {notebooks.title(found := notebooks.find(name)): found}
    books = {title: sweep.Book(source, *preparation(source, preset)) for title, source in sources.items()}
    axes = (grids.from_file(grid) if grid else {}) | grids.from_words(p)
    asked = sweep.Sweep(books, axes, (runs_folder or runs.root_folder()).absolute())
    if jobs < 1:
        raise WorkbenchError("--jobs", "at least 1", str(jobs), "leave it out for 2")
    if trials or goal:
        from workbench.sweep import search

        states = search.run(asked, trials, goal, jobs, on)
    elif dry_run:
        grids.count(asked.axes)
        print("\n".join(sweep.plan(asked)))
        return
    else:
        grids.confirm(grids.count(asked.axes), yes)
        states = sweep.run(asked, jobs, on, again)
    sys.exit(1 if states["failed"] else 0)


def preparation(source: Path, preset: str) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """What is asked of a notebook beside its parameters, and how these become what papermill passes, all checked.

    Only notebooks of methods have presets and take settings that their parameters cell does not name.
    """
    from workbench import notebooks

    name = notebooks.title(source)
    if not notebooks.of_method(source):
        declared = notebooks.declared(source)

        def plain(asked: Mapping[str, Any]) -> dict[str, Any]:
            for key in asked.keys() - declared.keys():
                raise unknown(f"parameter of {source.name}", key, declared)
            return notebooks.parameters(source, asked)

        return {}, plain

    def checked(asked: Mapping[str, Any]) -> dict[str, Any]:
        from workbench import method, study

        settings = {**method.preset(name, asked["preset"]), **asked}
        passed = notebooks.parameters(source, settings)
        direct = {key: value for key, value in passed.items() if key in study.names(name)}
        study.settings(name, direct | passed.get("settings", {}))
        return passed

    return {"preset": preset}, checked


@app.command(name="fit")
def fit_one(
    name: Positional[str],
    p: Pairs = (),
    preset: Preset = "tiny",
    seed: int = 0,
    runs_folder: Annotated[Path | None, arg(name="runs")] = None,
) -> None:
    """Train one method without a notebook; under torchrun on several processes or GPUs.

    Args:
        name: A method or baseline.
        p: A setting, such as -p lr=1e-3 or -p batch=64; may be repeated.
        preset: tiny, demo or paper.
        seed: What all randomness derives from.
        runs_folder: Where runs are kept; default $WORKBENCH_RUNS or ./runs.
    """
    from workbench import device, progress, study
    from workbench.method import method_class

    chosen = values(name, p, preset)
    settings, budget, options = study.settings(name, chosen)
    root = (runs_folder or runs.root_folder()).absolute()
    task = study.Task(name, study.Arm(name, settings, budget), method_class(name).data, options, seed, root)
    with device.processes():
        run, reused = study.train(task, progress.bar(f"{name} seed {seed}") if device.rank() == 0 else None)
        if device.rank() == 0:
            print(f"{'reused' if reused else 'done'}: {run.path}")
            print(run.scores().mean(numeric_only=True).round(4).to_string())


@app.command(name="claims")
def judge_claims(
    name: Positional[str],
    p: Pairs = (),
    seeds: int = 5,
    root: Path | None = None,
    arms: tuple[str, ...] = ("rivals", "floors", "ablations"),
    jobs: int = os.cpu_count() or 1,
    out: Path = Path("claims"),
    runs_folder: Annotated[Path | None, arg(name="runs")] = None,
) -> None:
    """Train a method and everything it is compared with, several seeds, and judge what its card claims.

    Args:
        name: A method.
        p: A setting of the data or the budget, such as -p source=samples, or of the method and its ablations, not of
            its rivals, such as -p pretext_epochs=75; may be repeated.
        seeds: How many seeds, from 0.
        root: A folder of your own images instead.
        arms: What to compare with: rivals, floors, ablations, variants (of the rivals), or single arms by name.
        jobs: Trainings at a time, each in its own process.
        out: The folder whose NAME.json gets the record.
        runs_folder: Where runs are kept; default $WORKBENCH_RUNS or ./runs.
    """
    from workbench import claims, study

    chosen = values(name, p, "tiny") | ({"root": str(root.absolute())} if root else {})
    config, budget, options = study.settings(name, chosen)
    change = {key: value for key, value in config.items() if key not in options}
    record = claims.judge(name, seeds, options, budget, change, which=arms, jobs=jobs, root=runs_folder)
    claims.keep(out / f"{name}.json", record)
    for verdict in record["verdicts"]:
        print(f"{verdict['verdict']:<14} {verdict['kind']:<9} {verdict['claim']}")
    print(f"written: {out / f'{name}.json'}")


@app.command(name="predict")
def predict_images(
    run: Positional[str],
    source: Positional[Path],
    target: Positional[Path],
    settings: Pairs = (),
    overwrite: bool = False,
) -> None:
    """Apply a trained run to images of your own: colours and masks as PNG, tables of spurs or classes, alerts as SWC.

    Args:
        run: A run: its path, name/id, or the first digits of its id.
        source: An image or a folder of images.
        target: The folder for the results.
        settings: A setting of the data in place of the run's, such as -p spacing=0.3,0.3,1; may be repeated.
        overwrite: Replace results that are there.
    """
    from workbench import predict

    predict.apply(runs.get(run), source, target, overwrite=overwrite, settings=parse(settings))


@app.command(name="dashboard")
def serve_dashboard(
    folder: Positional[Path | None] = None, port: int = 5006, show: bool = True, socket: Path | None = None
) -> None:
    """Serve the dashboards over a folder of runs.

    Args:
        folder: Where the runs are; default $WORKBENCH_RUNS or ./runs.
        port: The port on this machine; 0 takes a free one.
        show: Open a browser.
        socket: Listen on this Unix socket in place of a port, for a server that passes requests on.
    """
    from workbench import dashboard

    dashboard.serve(folder or runs.root_folder(), port=port, show=show, unix_socket=socket)


@dataclass
class Check:
    """Check a folder of images for a method: what would be used, what set aside and why, and the ids of the cases."""

    name: Positional[str]  # A method.
    root: Positional[Path]  # The folder.
    settings: Pairs = ()  # A setting of the data, such as -p test=20; may be repeated.

    def __call__(self) -> None:
        from workbench import data
        from workbench.method import method_class

        for line in data.check(method_class(self.name).data, self.root, **parse(self.settings)):
            print(line)


@dataclass
class Pack:
    """Decode a large set of images once, into a store that trainings read: -p root=STORE.

    What an interrupted pack finished is kept: the same command goes on. Files that cannot be read are listed in
    STORE/refused.csv with reasons.
    """

    source: Annotated[Positional[Path], arg(metavar="SRC")]  # A folder of images, or a text list or CSV table of them.
    store: Annotated[Positional[Path], arg(metavar="STORE")]  # The store: a new folder, or one to go on with.
    list: Annotated[Path | None, arg(metavar="FILE")] = None  # A list or table of paths below SRC; columns are kept.
    size: int = 256  # Side of the square images, pixels.
    channels: int = 1  # 1 for grey images, 3 for colours.
    window: str = "auto"  # auto stretches pictures of more than 8 bits from 0.1 to 99.9 %, full keeps their range.
    jobs: int = os.cpu_count() or 1  # Processes.

    def __call__(self) -> None:
        from workbench.data.store import Packing, pack

        packing = Packing(size=self.size, channels=self.channels, window=self.window)
        print(pack(self.source, self.store, packing, table=self.list, jobs=self.jobs))


@app.command(name="data")
def serve_data(
    action: Annotated[Annotated[Check, subcommand("check")] | Annotated[Pack, subcommand("pack")], arg(name="")],
) -> None:
    """Check a folder of images for a method, or pack a large set of images into a store."""
    action()


@app.command(name="check")
def check_notebooks(
    notebooks: Positional[tuple[Path, ...]],
    executed: Path | None = None,
    against: Path | None = None,
    update: bool = False,
    repeats: int = 3,
    rtol: float = 0.01,
    timeout: float = 600.0,
    json: bool = False,
) -> None:
    """Execute notebooks and compare numbers, tables, pictures and figures with their references; status 1: they differ.

    Args:
        notebooks: The notebooks; their references lie beside them in references/.
        executed: An executed copy of the notebook to compare, in place of executing it.
        against: An executed copy to compare with, in place of the reference.
        update: Write the references anew.
        repeats: Executions from which a reference learns what varies.
        rtol: The relative tolerance of numbers, where a cell states none.
        timeout: Seconds that a cell may take.
        json: Print a record in place of lines.
    """
    from workbench.check import command
    from workbench.check.judge import Tolerance

    chosen = {"executed": executed, "against": against, "update": update, "repeats": repeats, "timeout": timeout}
    sys.exit(command.run(notebooks, tolerance=Tolerance(rtol=rtol), as_json=json, **chosen))


@app.command(name="doctor")
def examine() -> None:
    """Show versions, GPU, precision, memory and Jupyter extensions, what is missing and how to get it."""
    from workbench import doctor

    sys.exit(doctor.show())


def values(name: str, pairs: tuple[str, ...], preset: str) -> dict:
    """The settings of the preset with those of the command line over them; all names and values checked."""
    from workbench import method, study

    chosen = method.preset(name, preset) | parse(pairs)
    extra = {"seeds", "arms"}  # parameters of notebooks that are no settings of a method
    study.settings(name, {key: value for key, value in chosen.items() if key not in extra})
    return chosen


def settings_help(command: str, name: str) -> str:
    """Every setting of a notebook and of its method with default and comment, for `workbench run NAME --help`."""
    from workbench import data, notebooks
    from workbench.config import describe
    from workbench.fit import Budget
    from workbench.method import method_class

    lines = [f"workbench {command} {name} [-p key=value ...]"]
    if command in ("run", "sweep"):
        source = notebooks.find(name)
        lines += [f"\n{source.name}:", *(f"  {line}" for line in notebooks.asked_in(source).splitlines())]
        if not notebooks.of_method(source):
            return "\n".join(lines)
        name = notebooks.title(source)
    cls = method_class(name)
    groups = {f"{name} (settings)": cls.Config, "budget": Budget, f"data ({cls.data})": data.module(cls.data).Options}
    return "\n".join([*lines, *(line for title, group in groups.items() for line in (f"\n{title}:", *describe(group)))])


def main(words: list[str] | None = None) -> None:
    """Entry point; bad input ends with one line and exit status 2, a stop with 130."""
    words = sys.argv[1:] if words is None else words
    asks = len(words) > 2 and words[0] in ("run", "sweep", "fit", "claims") and {"-h", "--help"} & set(words[2:])
    try:
        if asks and not words[1].startswith("-") and words[1] != "all":
            print(settings_help(*words[:2]))
            return
        app.cli(prog="workbench", args=words, description=__doc__, config=(AvoidSubcommands,))
    except WorkbenchError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # who reads, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as stop:
        print(f"workbench: {str(stop) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
