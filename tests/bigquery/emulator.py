"""BigQuery's REST API on loopback: emulator.py REST_PORT GRPC_PORT [LOAD_SECONDS [FAULT]]

It is bqemulator, with what that lacks of the documented behaviour of load jobs: the caller's job id is kept, a second job
of one id is refused with 409, uploads may be in gzip, and a job takes LOAD_SECONDS, during which it is RUNNING. With the FAULT `lost` the answer to each new job is 503 although it was
taken; with `failed` each first job of an object fails by a fault of BigQuery's own; with `quota` there is none left for jobs.
"""

import asyncio
import gzip
import sys
from types import SimpleNamespace

from bqemulator.api.routes import upload
from bqemulator.cli import main
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import JobMeta
from fastapi.responses import JSONResponse

SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
FAULT = sys.argv[4] if len(sys.argv) > 4 else ""
RUNNING = set()


def already_exists(project, job):
    message = f"Already Exists: Job {project}:US.{job}"
    error = {"message": message, "domain": "global", "reason": "duplicate"}
    return JSONResponse(status_code=409, content={"error": {"code": 409, "message": message, "errors": [error]}})


def running(project, job, configuration, context):
    now = context.clock.now()
    return JobMeta(project_id=project, job_id=job, job_type="LOAD", state="RUNNING", configuration=configuration,
                   creation_time=now, start_time=now, etag=generate_etag(project, job, str(now)))


async def insert(*, project_id, request, ctx, manager):
    if FAULT == "quota":
        message = "Quota exceeded: Your table exceeded quota for imports or query appends per table."
        error = {"message": message, "domain": "usageLimits", "reason": "quotaExceeded"}
        return JSONResponse(status_code=403, content={"error": {"code": 403, "message": message, "errors": [error]}})
    body = await upload._read_body_capped(request, cap=manager.max_bytes)
    envelope, media = upload._parse_multipart_related(request.headers["content-type"], body)
    configuration = upload._load_configuration_from_envelope(envelope)
    job = envelope["jobReference"]["jobId"]
    if ctx.catalog.get_job(project_id, job) is not None:
        return already_exists(project_id, job)
    meta = running(project_id, job, configuration, ctx)
    ctx.catalog.upsert_job(meta)
    if media[:2] == b"\x1f\x8b":
        media = gzip.decompress(media)
    # Goes on when the caller is gone, as a job does.
    task = asyncio.create_task(load(project_id, job, configuration, media, ctx, manager))
    RUNNING.add(task)
    task.add_done_callback(RUNNING.discard)
    if FAULT == "lost":
        return JSONResponse(status_code=503, content={"error": {"code": 503, "message": "Service Unavailable"}})
    return JSONResponse(content=upload._build_job_response(project_id, job, meta, configuration))


async def load(project, job, configuration, media, context, manager):
    await asyncio.sleep(SECONDS)
    if FAULT == "failed" and job.endswith("_1"):
        error = {"reason": "backendError", "message": "Retrying may solve the problem."}
        done = running(project, job, configuration, context).model_copy(update={"state": "DONE", "error_result": error})
        context.catalog.upsert_job(done)
        return
    session = manager.create(project, configuration)
    session.staging_path.write_bytes(media)
    # What it makes of the load, it keeps under an id of its own.
    catalog = SimpleNamespace(get_table=context.catalog.get_table, update_table=context.catalog.update_table,
                              upsert_job=lambda meta: None)
    try:
        _, meta = await upload._run_load(project_id=project, configuration=configuration,
                                         media_path=str(session.staging_path), ctx=Context(context, catalog))
    finally:
        manager.remove(session.session_id)
    context.catalog.upsert_job(meta.model_copy(update={"job_id": job, "configuration": configuration}))


class Context:
    """The emulator's context with another catalogue."""

    def __init__(self, context, catalog):
        self._context, self.catalog = context, catalog

    def __getattr__(self, name):
        return getattr(self._context, name)


upload._handle_multipart = insert
sys.argv = ["bqemulator", "start", "--rest-port", sys.argv[1], "--grpc-port", sys.argv[2], "--log-level", "error"]
main()
