"""The types of problem a user can meet: one table, from which /problems pages, API errors and job errors are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.errors import UserError


@dataclass(frozen=True)
class ProblemType:
    """A stable kind of error: its title, and a page's worth of what it means and what to do."""

    title: str
    explanation: str


PROBLEM_TYPES: dict[str, ProblemType] = {
    "ambiguous-model": ProblemType(
        "More than one model matches", "Give more letters of the id, or the whole name. `errors` lists the matches."
    ),
    "backup-unsupported": ProblemType(
        "This database is not a SQLite file", "Use the tools of your database server, for example pg_dump."
    ),
    "bad-bundle": ProblemType(
        "This is not a bundle of ours", "The file must be a zip that Tradespace has exported, or the folder in it."
    ),
    "bad-prefix": ProblemType(
        "Not usable as a prefix", "A prefix becomes part of C names: a letter, then letters, digits and underscores."
    ),
    "budget-infeasible": ProblemType(
        "Nothing fits the budget",
        "No selection of primitives needs as little memory as asked. `facts.smallest_bytes` is the least any "
        "selection needs, `facts.smallest_step` the step of execution that needs it, `facts.excess_bytes` how much "
        "is lacking. Raise the budget, choose another memory axis, or use a smaller input.",
    ),
    "bundle-altered": ProblemType(
        "A file of the bundle was altered", "Its hash is not the one in manifest.json. Export the point again."
    ),
    "bundle-arena-mismatch": ProblemType(
        "The bundle does not use its memory as stated",
        "The bytes it touches are not the arena its header promises. This is a defect of the export; report it.",
    ),
    "bundle-does-not-compile": ProblemType(
        "The bundle does not compile", "`errors` has the compiler's words. Check the device's compiler and flags."
    ),
    "bundle-mismatch": ProblemType(
        "The bundle does not compute what the model computes",
        "Its outputs differ from those of onnxruntime on the original file by more than allowed, or the class "
        "differs. This is a defect of the export; report it with the model.",
    ),
    "bundle-timeout": ProblemType(
        "The bundle did not answer in time", "It may be far too slow for this machine, or hang; report it."
    ),
    "bundle-rejected": ProblemType(
        "The bundle did not pass its own test",
        "A bundle is compiled and run on the model's test inputs before anyone can download it. This one failed; "
        "`detail` and `errors` say where. Nothing was stored.",
    ),
    "compiler-missing": ProblemType(
        "No C compiler", "Measuring and exporting need the device's compiler. Install it or set CC, then try again."
    ),
    "cost-missing": ProblemType(
        "Costs have not been measured",
        "The front needs the time of every candidate primitive on the device. Run a measurement for this model and "
        "device first; only what is missing is measured.",
    ),
    "costs-invalid": ProblemType(
        "The costs cannot be read", "The file must be one written by `tradespace costs export` or by a measuring kit."
    ),
    "cross-origin": ProblemType(
        "Refused: the request came from another site",
        "A web page of another origin tried to change something here. Use the page this service serves, or a client "
        "that sends no Origin header.",
    ),
    "database-newer": ProblemType(
        "The database was written by a newer version", "Install that version again, or restore a backup."
    ),
    "device-invalid": ProblemType(
        "The devices file is not right", "`detail` names the entry. The format is described in docs/devices.md."
    ),
    "device-unknown": ProblemType(
        "No such device", "Devices are the host and the entries of the toolchains file; `tradespace devices list`."
    ),
    "dynamic-shape": ProblemType(
        "The network has dimensions without a value",
        "Give each a number: `dims=N=1,H=224` in the API, `--dim N=1 --dim H=224` on the command line.",
    ),
    "example-unknown": ProblemType("No such example", "`GET /api/v1/models/examples` lists the example library."),
    "external-data": ProblemType(
        "The weights are in other files",
        "A model that refers to other files is refused, because a file from elsewhere must not name files here. Save "
        "it as one file: onnx.save(model, path, save_as_external_data=False).",
    ),
    "file-exists": ProblemType("The file exists already", "Nothing is overwritten. Choose another name."),
    "file-unreadable": ProblemType("A file cannot be read", "Check the path and its permissions."),
    "frontier-incomplete": ProblemType(
        "The front ends above this budget",
        "It was cancelled or cut, as `facts.incomplete_because` says, before it reached budgets this small. Trace it "
        "again, or ask what fits with what-if, which solves that one question.",
    ),
    "frontier-missing": ProblemType(
        "No front has been traced", "Trace the front of this model, device and memory axis first."
    ),
    "harness-does-not-build": ProblemType(
        "The measuring program does not compile", "`detail` has the compiler's words. Check the device's flags."
    ),
    "host-refused": ProblemType(
        "Refused: unknown host name",
        "Without tokens the service answers only to the names of this machine, so that a web page cannot reach it "
        "through a name of its own.",
    ),
    "idempotency-mismatch": ProblemType(
        "This Idempotency-Key was used for another request", "Use a new key for each different request."
    ),
    "idempotency-running": ProblemType(
        "The first request with this Idempotency-Key is still running", "Wait a moment and repeat the request."
    ),
    "import-timeout": ProblemType(
        "Reading the model took too long", "Networks are read in a process of limited time. Try a smaller one."
    ),
    "internal": ProblemType(
        "Something went wrong here",
        "This is a fault of the program, not of your request. The server's log has the details under the request id.",
    ),
    "job-final": ProblemType("The job is not finished", "Only a job that ended can be tried again."),
    "job-lost": ProblemType(
        "The job's worker went away",
        "The process that ran the job ended without a word, several times. Retry the job; if it happens again, the "
        "log file named in `detail` shows the last lines it wrote.",
    ),
    "latency-infeasible": ProblemType(
        "Nothing is fast enough", "`facts.fastest_ns` is the least latency within the budget."
    ),
    "limits-impossible": ProblemType(
        "No selection is possible within the limits",
        "`errors` names each layer that the limits leave without a primitive, and what would have to be lifted for it: "
        "a forbidden family, a pin, a ban, the error budget.",
    ),
    "limits-invalid": ProblemType(
        "The limits are not right",
        "`errors` names each one: a family, layer or primitive that does not exist, a primitive that cannot run the "
        "layer (with its reason), two pins of one layer, a bound on the arena on an axis other than weights.",
    ),
    "measurement-failed": ProblemType(
        "A primitive could not be measured", "`detail` names it. Its test is run by `make check`."
    ),
    "method-not-allowed": ProblemType("This method is not offered here", "The Allow header lists those that are."),
    "model-in-use": ProblemType(
        "Jobs are using this model", "Cancel them or wait until they are done, then delete it."
    ),
    "model-invalid": ProblemType(
        "The file is not a usable ONNX network", "`detail` says what is wrong. Nothing was stored."
    ),
    "model-name-taken": ProblemType("Another model has this name", "Choose another name."),
    "model-too-large": ProblemType(
        "The model is too large", "`facts` has the limit. Networks are read in a process of limited memory."
    ),
    "no-primitive": ProblemType(
        "No primitive can run a layer", "`errors` lists each layer with the reason of every primitive."
    ),
    "non-finite-weights": ProblemType(
        "Weights are NaN or infinite", "`errors` lists the tensors. Such a network computes nothing; export it again."
    ),
    "not-found": ProblemType("There is nothing here", "Check the address; ids are never reused."),
    "point-stale": ProblemType(
        "The point uses a primitive that no longer exists", "The kernels changed since. Trace the front again."
    ),
    "port-in-use": ProblemType("The port is taken", "Another program listens there. Choose another with --port."),
    "quantity-invalid": ProblemType(
        "Not a size or a time", "Sizes are written 384KiB, 6MiB, 500KB or in bytes; times 350us, 20ms, 1.5s."
    ),
    "query-invalid": ProblemType("A parameter is missing or wrong", "`detail` names it."),
    "question-too-hard": ProblemType(
        "The question cannot be answered while you wait",
        "Answers are given within seconds. Trace a front within these limits: that is a job and takes its time.",
    ),
    "reference-not-finite": ProblemType(
        "The model's own output is not finite",
        "onnxruntime computes infinities or NaN for the test input, so no bundle can be compared with it.",
    ),
    "scheduler-unavailable": ProblemType(
        "The Dask scheduler cannot be used", "Install the extra `dask` and check TRADESPACE_SCHEDULER."
    ),
    "state-mismatch": ProblemType("The state has changed meanwhile", "Load it again and repeat."),
    "token-needed": ProblemType(
        "A token is needed",
        "This service listens beyond its own machine. Send `Authorization: Bearer ts_...`, or open the page once as "
        "`/?token=ts_...`. Tokens are made with `tradespace tokens add NAME` on the server.",
    ),
    "too-many-streams": ProblemType("Too many event streams", "Close other windows, or poll the job instead."),
    "unsupported-operator": ProblemType(
        "The network has operators that are not supported",
        "`errors` lists every one with its node. Nothing was imported. Simplify the model or replace them.",
    ),
    "unsupported-opset": ProblemType(
        "The opset is not supported", "Export the model with opset 7 or later (onnx.version_converter can convert)."
    ),
    "unsupported-type": ProblemType(
        "The network computes with numbers that are not float32", "Export a float32 model."
    ),
    "unsafe-bind": ProblemType(
        "Refused to listen beyond this machine without a token",
        "Make one with `tradespace tokens add NAME`, or set TRADESPACE_TOKEN.",
    ),
    "upload-too-large": ProblemType(
        "The upload is too large", "`facts.limit_bytes` is the limit; TRADESPACE_UPLOAD_LIMIT_BYTES changes it."
    ),
    "validation": ProblemType(
        "The request is not right", "`errors` lists each field with what is wrong with it. See /docs for the format."
    ),
    "vectors-invalid": ProblemType(
        "The test inputs do not fit the model", "Each must be a float32 .npy file with the dimensions of the input."
    ),
}


def problem(
    code: str,
    status: int,
    detail: str,
    *,
    hint: str = "",
    errors: list[dict[str, str]] | None = None,
    facts: dict[str, Any] | None = None,
    request_id: str | None = None,
) -> dict[str, Any]:
    """A problem document (RFC 9457) with this project's extension members."""
    kind = PROBLEM_TYPES.get(code)
    return {
        "type": f"/problems/{code}",
        "title": kind.title if kind else code.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "hint": hint,
        "errors": errors or [],
        "facts": facts or {},
        "request_id": request_id,
    }


def problem_of(error: UserError, request_id: str | None = None) -> dict[str, Any]:
    """The problem document of an error a user can act on."""
    return problem(
        error.code,
        error.status,
        error.message,
        hint=error.hint,
        errors=[{"pointer": item.pointer, "detail": item.detail} for item in error.items],
        facts=error.facts,
        request_id=request_id,
    )
