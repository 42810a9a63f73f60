"""Configuration: what is wrong is said in one line that names the key, what it got and what it takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pager_ray.config import EvaluateConfig, RunConfig, describe_keys, load_config
from pager_ray.config.evaluation import ScoreConfig
from pager_ray.config.schema import PlanConfig
from pager_ray.config.training import TrainConfig
from pager_ray.errors import ConfigError
from pager_ray.limits import MAX_MAP_PIXELS
from pager_ray.ranges import DepthRange
from pager_ray.runs.layout import RUN_FILE
from pager_ray.runs.runfile import new_run_file, read_run_file
from pager_ray.storage import Folder
from pager_ray.submitted import RAY_JOB

CONFIGS = Path(__file__).parents[2] / "configs"
ENOUGH = ["input.uris=in", "output.uri=out", "checkpoint=embedded"]


def test_overrides_win_over_the_file(tmp_path):
    """A dotted override replaces the file's value and leaves its neighbours."""
    path = tmp_path / "run.yaml"
    path.write_text("input: {uris: [a, b]}\noutput: {uri: out, format: npz, size: native}\n")
    config = load_config(
        path, ["checkpoint=embedded", "output.format=parquet", "compute.gpu_workers=[1, 4]", "errors.max_rejects=1%"]
    )
    assert config.input.uris == ["a", "b"]
    assert (config.output.format, config.output.size) == ("parquet", "native")
    assert config.compute.gpu_workers == (1, 4)
    assert config.errors.budget_rows(250) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_may_come_from_windows(tmp_path: Path, encoding: str) -> None:
    """A file is read in the encoding that its byte order mark names."""
    path = tmp_path / "run.yaml"
    path.write_bytes("input: {uris: küche}\r\noutput: {uri: out}\r\n".encode(encoding))
    assert load_config(path, ["checkpoint=embedded"]).input.uris == ["küche"]


@pytest.mark.parametrize("precision", ["auto", "float32", "float16", "bfloat16", "int8", "fp8"])
def test_precisions_are_those_of_the_model(precision):
    """Every precision that the model loads in may be asked for; the default is none of the lower ones."""
    assert load_config(None, [*ENOUGH, f"precision={precision}"]).precision == precision
    assert load_config(None, ENOUGH).precision == "auto"


def test_a_single_uri_needs_no_list():
    """One input URI may stand alone."""
    assert load_config(None, ENOUGH).input.uris == ["in"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("output.format=zarr", "output.format: got 'zarr'; takes 'parquet' or 'npz'"),
        ("output.formt=npz", "output.formt: unknown key; did you mean output.format?"),
        ("output.size=100x300", "output.size: got '100x300'; takes source, native, or HxW"),
        (
            "output.size=20000x40000",
            "output.size: got '20000x40000'; takes W up to 32766, the widest ERP that is stitched",
        ),
        ("output.rows_per_shard=0", "output.rows_per_shard: got 0; takes auto or a whole number"),
        ("compute.gpu_workers=[3, 1]", "compute.gpu_workers: got [3, 1]; takes n ≥ 1"),
        ("compute.batch_size=-2", "compute.batch_size: got -2; takes auto or a whole number"),
        ("compute.cpus_per_task=0.0", "compute.cpus_per_task: got 0.0; takes auto or a number above 0"),
        ("errors.max_rejects=200%", "errors.max_rejects: got '200%'; takes a whole number of rows"),
        ("errors.max_rejects=-1", "errors.max_rejects: got -1; takes a whole number of rows"),
        ("sky.open_kernel=4", "sky.open_kernel: got 4; takes 0 (off) or an odd number"),
        ("depth.min=80", "depth.min 80.0 must be below depth.max 75.0"),
        ("precision=int4", "precision: got 'int4'; takes 'auto', 'float32', 'float16', 'bfloat16', 'int8' or 'fp8'"),
        ("scene_mode=forest", "scene_mode: got 'forest'; takes 'auto', 'indoor' or 'outdoor'"),
        ("input.uris=", "input.uris: got nothing; takes"),
        ("output.uri=", "output.uri: got nothing; takes"),
        ("checkpoint", "'checkpoint': is no override; takes key=value"),
        ("=3", "'=3': is no override"),
        ("scene_mode.inner=3", "scene_mode: got dict"),
        ("compute.gpu_workers=[1", "compute.gpu_workers: got '[1', which is not YAML"),
        ("compute.gpu_workers=yes", "compute.gpu_workers: got True; takes no yes, no, true or false"),
        ("sky.softness=on", "sky.softness: got True; takes no yes, no, true or false"),
        ("output.uri=/runs/\udcff", "output.uri: got '/runs/\\udcff'; takes text in UTF-8; rename what has a name in"),
        (
            "input.uris=/in/\udcff",
            "input.uris: got ['in', '/in/\\udcff']; takes text in UTF-8; rename what has a name in",
        ),
        ("output.uri=s3://key:secret@bucket/x", "output.uri: s3://bucket/x carries credentials in its URL; give them"),
        ("output.size=00x00", "output.size: got '00x00'; takes source, native, or HxW"),
        ("output.size=0512x1024", "output.size: got '0512x1024'; takes source, native, or HxW"),
        ("output.size=١٢٨x٢٥٦", "output.size: got '١٢٨x٢٥٦'; takes source, native, or HxW"),
        ("depth.max=1e9", "depth.max: got '1e9'; takes less than 1000000000"),
        (
            "compute.cpus_per_task=1e-5",
            "compute.cpus_per_task: got '1e-5'; takes auto or a number above 0, no less than 0.0001",
        ),
        ("compute.gpus_per_worker=1e-5", "compute.gpus_per_worker: got '1e-5'; takes 0, a share from 0.0001 to 1, or"),
        (
            "compute.gpus_per_worker=1.5",
            "compute.gpus_per_worker: got 1.5; takes 0, a share from 0.0001 to 1, or a whole",
        ),
        (
            "compute.threads_per_worker=1025",
            "compute.threads_per_worker: got 1025; takes auto or a whole number from",
        ),
        ("compute.gpu_workers=[1]", "compute.gpu_workers: got [1]; takes a whole number or [min, max]"),
        ("compute.gpu_workers=[1, 2, 3]", "compute.gpu_workers: got [1, 2, 3]; takes a whole number or [min, max]"),
        ("compute.gpu_workers=", "compute.gpu_workers: got nothing; takes a whole number or [min, max]"),
        ("compute=3", "compute: got 3; takes keys of its own, such as compute.cpus_per_task"),
        ("input.video=[1]", "input.video: got [1]; takes keys of its own, such as input.video.fps"),
        ("3=4", "3: unknown key; --help lists the keys"),
    ],
)
def test_mistakes_name_the_key(override, expected):
    """Each mistake gives one line that starts with, or holds, the key and what it takes."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, [*ENOUGH, override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def kinds(annotation: object) -> set[object]:
    """Types that an annotation is made of."""
    return {annotation}.union(*map(kinds, get_args(annotation))) if get_origin(annotation) is not Literal else set()


def numbers(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Keys that take numbers with a fraction."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from numbers(field.annotation, f"{prefix}{name}.")
        elif float in kinds(field.annotation):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("model", [RunConfig, PlanConfig, EvaluateConfig, ScoreConfig, TrainConfig])
@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_every_number_is_finite(model: type, number: str) -> None:
    """No key of any job takes what is no number, or none that JSON has: each is named, before any work."""
    keys = {*numbers(model)}
    assert keys
    for key in keys:
        with pytest.raises(ConfigError, match=rf"^{key}: got .*takes a finite number"):
            load_config(None, [f"{key}={f'[[{number}, 56, 4]]' if key == 'phases' else number}"], model)


def test_keys_inside_a_value_are_refused():
    """A key below one that holds a value is told, with where the keys are listed."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, [*ENOUGH, "scene_mode=indoor", "scene_mode.inner=3"])
    assert str(caught.value) == (
        "scene_mode.inner: scene_mode is no section of the configuration; --help lists the keys"
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip())


@settings(max_examples=200)
@given(TEXTS)
def test_text_is_taken_as_it_is_typed(text: str) -> None:
    """Whatever stands behind the = of a key that takes text is its value: blanks, #, *, quotes, yes, null and all."""
    assert load_config(None, [*ENOUGH, f"router_weights={text}"]).router_weights == text
    if not (text.startswith("[") and text.endswith("]")):
        assert load_config(None, [f"input.uris={text}", *ENOUGH[1:]]).input.uris == [text]


@pytest.mark.parametrize(
    ("overrides", "uris"),
    [
        (["input.uris=/data/tour #2"], ["/data/tour #2"]),
        (["input.uris=*.jpg"], ["*.jpg"]),
        (["input.uris=[0-9]*.jpg"], ["[0-9]*.jpg"]),
        (["input.uris=a: b"], ["a: b"]),
        (["input.uris=2024"], ["2024"]),
        (["input.uris=a", "input.uris=b #1", "input.uris=[c, d]"], ["a", "b #1", "c", "d"]),
    ],
)
def test_lists_of_texts_are_repeated_or_in_brackets(overrides: list[str], uris: list[str]) -> None:
    """One text stands alone, several are given by repetition or as a YAML list; a file's list is replaced."""
    assert load_config(None, [*overrides, *ENOUGH[1:]]).input.uris == uris


def test_names_of_an_evaluation_differ():
    """Alignments and families are sets of names: none, or one twice, is told with the key and what it takes."""
    enough = ["evaluation.dataset=Rooms", "output.uri=out"]
    for value in ("[]", "[scale, scale]"):
        with pytest.raises(ConfigError, match=r"^evaluation\.alignments: got \[.*; takes one or more different names$"):
            load_config(None, [*enough, f"evaluation.alignments={value}"], EvaluateConfig)


def test_required_keys():
    """Inputs, an output and a checkpoint are required; the error names the two that most people mean."""
    with pytest.raises(ConfigError, match=r"input\.uris: got nothing"):
        load_config(None, ENOUGH[1:])
    with pytest.raises(ConfigError, match=r"output\.uri: got nothing"):
        load_config(None, ["input.uris=in"])
    with pytest.raises(ConfigError, match=r"checkpoint: got nothing; takes embedded .*, pager "):
        load_config(None, ENOUGH[:2])
    assert load_config(None, ENOUGH[:2], PlanConfig).checkpoint == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"- a\n- b\n", "holds a list; takes a mapping"),
        (b"a: [1\n", "is not YAML .*; takes a mapping"),
        (b"\xff\xfe\x00", "is not YAML .*; takes a mapping"),
        (b"!!python/object/apply:os.system ['true']\n", "is not YAML .*; takes a mapping"),
        (b"output:\n  uri: a\noutput:\n  previews: true\n", "is not YAML .*line 3.*`output` for the second time"),
        (b"output: {uri: a, 'uri': b}\n", "is not YAML .*line 1.*`uri` for the second time"),
        (b"#" * (1 << 20) + b"##", "larger than .* bytes; --config takes a short YAML file"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, expected):
    """A file that is no mapping, no YAML, unsafe or oversized is one clear error."""
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"run\.yaml: {expected}"):
        load_config(path, ENOUGH)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("output.uri: a\n", "output.uri: in a file each dot is a level; takes `output: {uri: …}`"),
        ("input.video.fps: 1\n", "input.video.fps: in a file each dot is a level; takes `input: {video: {fps: …}}`"),
        ("input:\n  video.fps: 1\n", "input.video.fps: in a file each dot is a level; takes `video: {fps: …}`"),
        ("output.urj: a\n", "output.urj: unknown key; did you mean output.uri?"),
        ("1: 2\n", "1: unknown key; --help lists the keys"),
        ("sky:\n  1: 2\n", "sky.1: unknown key"),
    ],
)
def test_keys_of_files_are_nested(content: str, expected: str, tmp_path: Path) -> None:
    """A dotted key, which only the command line takes, is not unknown; what is unknown is named, whatever it is."""
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path, ENOUGH)
    assert str(caught.value).startswith(expected)


def test_sections_of_files_may_be_empty(tmp_path: Path) -> None:
    """A section whose keys are all commented out says nothing, to a file's keys as to the command line's."""
    path = tmp_path / "run.yaml"
    path.write_text("input:\n  # uris: x\n  video:\noutput:\ncompute:\n")
    config = load_config(path, ENOUGH)
    assert config == load_config(None, ENOUGH)


def test_aliases_stand_for_keys_once(tmp_path: Path) -> None:
    """What `<<` brings may be said again beside it: that is what it is for."""
    path = tmp_path / "run.yaml"
    path.write_text("sky: &sky {threshold: 0.4, softness: 0.1}\ndepth: {min: 0.1}\n")
    assert load_config(path, ENOUGH).sky.threshold == 0.4
    path.write_text("sky:\n  <<: {threshold: 0.4, softness: 0.1}\n  threshold: 0.5\n")
    assert load_config(path, ENOUGH).sky.threshold == 0.5


def whole_numbers(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Keys that take whole numbers, and perhaps something else."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from whole_numbers(field.annotation, f"{prefix}{name}.")
        elif int in kinds(field.annotation):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("model", [RunConfig, PlanConfig, EvaluateConfig, ScoreConfig, TrainConfig])
def test_every_whole_number_is_one_of_json(model: type) -> None:
    """No key of any job takes what no reader of JSON, no seed and no system call can have: each is named."""
    keys = {*whole_numbers(model)}
    assert keys
    for key in keys:
        wrong = {"phases": f"[[1, 56, {2**53}]]", "compute.gpu_workers": f"[1, {2**53}]"}.get(key, str(2**53))
        with pytest.raises(ConfigError, match=rf"^{key}: got .*takes "):
            load_config(None, [f"{key}={wrong}"], model)


def test_what_a_run_may_have_its_readers_take(tmp_path: Path) -> None:
    """The largest depth that a configuration takes is one that a run file may have, and the next one neither."""
    config = load_config(None, [*ENOUGH, "depth.max=999999999"])
    output = Folder(str(tmp_path / "run"))
    output.write_json(RUN_FILE, new_run_file(config.model_dump(mode="json"), {}))
    assert read_run_file(output)
    with pytest.raises(ConfigError):
        DepthRange(0.01, 1e9)


@pytest.mark.parametrize("uri", ["run", "./run", "../run", "runs/a #2"])
def test_a_submitted_job_has_no_output_in_its_own_folder(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray deletes the copy that a submitted job works in: a path relative to it is refused there, and there alone."""
    arguments = ["input.uris=in", f"output.uri={uri}", "checkpoint=embedded"]
    assert load_config(None, arguments).output.uri == uri
    monkeypatch.setenv(RAY_JOB, "{}")
    with pytest.raises(
        ConfigError, match=r"^output\.uri: got .*, inside the copy of the working folder .*; takes a URL"
    ):
        load_config(None, arguments)
    for shared in ("s3://bucket/run", "/mnt/run", "file:///mnt/run", "~/run"):
        assert load_config(None, ["input.uris=in", f"output.uri={shared}", "checkpoint=embedded"]).output.uri == shared


def test_a_submitted_job_says_what_ray_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration that is not there may be one that git ignores, which Ray does not ship."""
    monkeypatch.setenv(RAY_JOB, "{}")
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read .*ships neither what \.gitignore names"):
        load_config(tmp_path / "absent.yaml")


def test_missing_file_is_named(tmp_path):
    """A configuration file that is not there is named."""
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_config(tmp_path / "absent.yaml", ENOUGH)


def test_every_key_is_described():
    """Each key has a meaning, and a default that loads again."""
    rows = list(describe_keys())
    assert len(rows) == len({key for key, _, _ in rows}) > 20
    for key, default, meaning in rows:
        assert meaning, key
        if default != "(required)":
            load_config(None, [*ENOUGH, f"{key}={default}"])


@pytest.mark.parametrize(
    ("size", "expected"), [("source", (10, 20)), ("native", (1008, 2016)), ("512x1024", (512, 1024))]
)
def test_erp_size(size, expected):
    """The stitched size follows the source, the network or the given numbers."""
    config = load_config(None, [*ENOUGH, f"output.size={size}"])
    assert config.output.erp_size(10, 20) == expected


def test_result_keys_leave_out_what_changes_no_result():
    """Workers, budgets and places may change between starts of a run; everything else may not."""
    keys = load_config(None, ENOUGH).result_keys()
    assert "sky.fill" in keys
    assert "output.codec" in keys
    assert not [key for key in keys if key.startswith(("compute", "errors")) or key in ("output.uri", "input.uris")]


def test_configuration_cannot_be_changed():
    """A loaded configuration is a value."""
    config = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.checkpoint = "other"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_load(path):
    """Every commented example in configs/ is a valid configuration of its job."""
    job = {"evaluate.yaml": EvaluateConfig, "train.yaml": TrainConfig}.get(path.name, RunConfig)
    assert load_config(path, (), job).output.uri


def test_the_widest_size_is_the_stitchers() -> None:
    """The configuration's limit is that of the code that it protects, and that of who reads the maps."""
    assert MAX_MAP_PIXELS == 16383 * 32766
    assert load_config(None, [*ENOUGH, "output.size=16383x32766"]).output.erp_size(1, 2) == (16383, 32766)


@pytest.mark.parametrize("way", ["auto", "eager", "graphs", "compile"])
def test_every_way_of_running_the_network_is_a_key(way: str, tmp_path: Path):
    """From a file and from the command line, for jobs and evaluations, and it is no reason to start anew."""
    file = tmp_path / "run.yaml"
    file.write_text(f"compute:\n  acceleration: {way}\n", encoding="utf-8")
    by_file, by_hand = load_config(str(file), ENOUGH), load_config(None, [*ENOUGH, f"compute.acceleration={way}"])
    assert by_file.compute.acceleration == by_hand.compute.acceleration == way
    assert by_file.result_keys() == load_config(None, ENOUGH).result_keys()


def test_faces_sampled_on_the_gpu_are_other_results():
    """Where faces are sampled decides nothing until they are sampled without rounding; CPU workers cannot do it."""
    plain = load_config(None, ENOUGH).result_keys()
    assert load_config(None, [*ENOUGH, "compute.project_on=cpu"]).result_keys() == plain
    assert load_config(None, [*ENOUGH, "compute.project_on=gpu"]).result_keys() == plain | {"compute.project_on": "gpu"}
    with pytest.raises(ConfigError, match=r"compute\.project_on: gpu takes model workers on GPUs"):
        load_config(None, [*ENOUGH, "compute.project_on=gpu", "compute.gpus_per_worker=0"])


def test_levelling_is_asked_for_where_it_can_be_done(tmp_path):
    """YAML's off is one; metadata that are not read, and faces that a device samples, cannot be levelled."""
    (tmp_path / "job.yaml").write_text("input:\n  upright: off\n")
    plain = load_config(tmp_path / "job.yaml", ENOUGH)
    assert plain.input.upright == "off"
    # Runs that began before there was such a key go on.
    assert "input.upright" not in plain.result_keys()
    levelled = load_config(None, [*ENOUGH, "input.upright=gpano"]).result_keys()
    assert levelled == plain.result_keys() | {"input.upright": "gpano"}
    with pytest.raises(
        ConfigError, match=r"upright: gpano takes GPano metadata that are read, and input\.gpano is ignore"
    ):
        load_config(None, [*ENOUGH, "input.upright=gpano", "input.gpano=ignore"])
    with pytest.raises(ConfigError, match=r"compute\.project_on: gpu samples faces as panoramas lie; take cpu"):
        load_config(None, [*ENOUGH, "input.upright=columns", "compute.project_on=gpu"])
    with pytest.raises(ConfigError, match=r"input\.upright"):
        load_config(None, [*ENOUGH, "input.upright=true"])


def test_keys_that_do_not_go_together_are_told():
    """In words, without what Python makes of their section: each by itself is right."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, [*ENOUGH, "input.video.fps=5", "input.video.every=2"])
    assert str(caught.value) == "input.video: takes fps or every, not both"
    with pytest.raises(ConfigError, match=r"^compute\.project_on: gpu takes model workers on GPUs"):
        load_config(None, [*ENOUGH, "compute.project_on=gpu", "compute.gpus_per_worker=0"])


@pytest.mark.parametrize("way", ["graphs", "fused"])
@pytest.mark.parametrize("model", [RunConfig, EvaluateConfig])
def test_graphs_are_refused_before_any_work_where_they_cannot_be(way: str, model: type[BaseModel]) -> None:
    """Model workers on CPUs have none, which needs no model to be known."""
    enough = {RunConfig: ENOUGH, EvaluateConfig: ["output.uri=out", "evaluation.dataset=synthetic"]}[model]
    with pytest.raises(ConfigError, match=rf"^compute\.acceleration: {way} takes model workers on GPUs"):
        load_config(None, [*enough, f"compute.acceleration={way}", "compute.gpus_per_worker=0"], model)
    assert load_config(None, [*enough, f"compute.acceleration={way}"], model).compute.acceleration == way
