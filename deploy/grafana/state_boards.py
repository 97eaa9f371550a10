"""The dashboards about the ledger and the admin API."""

from typing import Final

from deploy.grafana.panels import NEVER, Dashboard, Panel, Query, Row, rate

ADMIN_JOB: Final = '{job="litemaas-admin"}'

ROWS: Final = Row(
    "Rows on their way to Postgres",
    (
        Panel(
            title="Rows that wait",
            about="Usage rows that are not in Postgres yet, by gateway.",
            queries=(Query("litemaas_ledger_rows_waiting", "{{instance}}"),),
        ),
        Panel(
            title="How long the oldest waits",
            unit="s",
            about="The alert is at one minute.",
            queries=(Query("litemaas_ledger_waiting_seconds", "{{instance}}"),),
        ),
        Panel(
            title="Journals",
            unit="bytes",
            about="On disk: of workers, left by workers that are gone, and kept in case Postgres loses rows.",
            queries=(
                Query("litemaas_ledger_journal_bytes", "{{instance}}"),
                Query("litemaas_ledger_left_bytes", "{{instance}}, left"),
                Query("litemaas_ledger_kept_bytes", "{{instance}}, kept"),
            ),
        ),
        Panel(
            title="Rows by outcome",
            unit="cps",
            stacked=True,
            about="Refused rows are in refused.log; direct ones went to Postgres, because no journal took them.",
            queries=(rate("litemaas_ledger_rows_total", "outcome"),),
        ),
        Panel(
            title="Batches",
            unit="cps",
            about="Written, or failed and tried again.",
            queries=(rate("litemaas_ledger_batches_total", "outcome"),),
        ),
        Panel(
            title="What the disk refused",
            unit="cps",
            about="Writes and syncs of journals, and workers that have no disk.",
            queries=(
                rate("litemaas_ledger_journal_errors_total", "action"),
                Query("sum(litemaas_ledger_journals_without_disk)", "workers without a disk"),
            ),
        ),
        Panel(
            title="Calls that a dead worker had begun",
            unit="cps",
            about="Found beside its journal: each has a row.",
            queries=(rate("litemaas_ledger_begun_calls_total"),),
        ),
    ),
)

CLOSED: Final = Row(
    "Closed days",
    (
        Panel(
            title="Since the end of the last sealed day",
            unit="s",
            about="The alert is at ten days.",
            empty="Empty until a day was sealed.",
            queries=(Query("time() - (max(litemaas_ledger_sealed_until_seconds) > 0)", "age"),),
        ),
        Panel(
            title="Since the last check of a hash chain",
            unit="s",
            about="Of the audit log, and of closed days of the ledger.",
            empty="Empty until the first check.",
            queries=(Query("time() - max by (chain) (litemaas_verified_timestamp_seconds)", "{{chain}}"),),
        ),
        Panel(
            title="Faults that the last check found",
            about="Rows that are not those that were written. There must be none.",
            empty="Empty until the first check.",
            queries=(Query("max by (chain) (litemaas_verification_faults)", "{{chain}}"),),
        ),
    ),
)

LEDGER: Final = Dashboard(
    "ledger", "ledger", "Whether every call has its row, and rows stay as they are.", (ROWS, CLOSED)
)

REQUESTS: Final = Row(
    "Requests",
    (
        Panel(
            title="Requests by status",
            unit="reqps",
            stacked=True,
            about="Of all replicas.",
            queries=(rate("litemaas_admin_requests_total", "status"),),
        ),
        Panel(
            title="The ten busiest routes",
            unit="reqps",
            about="Requests in a second.",
            queries=(
                Query(
                    "topk(10, sum by (method, route) (rate(litemaas_admin_requests_total[$__rate_interval])))",
                    "{{method}} {{route}}",
                ),
            ),
        ),
        Panel(
            title="The ten slowest routes",
            unit="s",
            about="The 95th percentile of their answers.",
            queries=(
                Query(
                    "topk(10, histogram_quantile(0.95, sum by (le, method, route) "
                    "(rate(litemaas_admin_request_seconds_bucket[$__rate_interval]))))",
                    "{{method}} {{route}}",
                ),
            ),
        ),
        Panel(
            title="Logins refused",
            unit="reqps",
            about="At an identity provider, and JWTs, by cause.",
            empty=NEVER,
            queries=(rate("litemaas_admin_logins_refused_total", "login, cause"),),
        ),
        Panel(
            title="Logins refused, compared with the day before",
            unit="none",
            about="As a multiple. The alert is at five.",
            empty="Empty on the first day, and while none is refused.",
            queries=(
                Query(
                    "litemaas:logins_refused:rate10m / avg_over_time(litemaas:logins_refused:rate10m[1d] offset 10m)"
                ),
            ),
        ),
        Panel(
            title="Let through without a rate limit",
            unit="reqps",
            about="Because Redis did not answer.",
            queries=(rate("litemaas_admin_rate_limit_unavailable_total"),),
        ),
    ),
)

TASKS: Final = Row(
    "Periodic tasks and messages",
    (
        Panel(
            title="Since the last good run of a task",
            unit="s",
            about="In whichever replica it ran.",
            queries=(Query("time() - max by (task) (litemaas_admin_task_timestamp_seconds)", "{{task}}"),),
        ),
        Panel(
            title="Runs that failed",
            unit="cps",
            about="By task.",
            empty=NEVER,
            queries=(rate("litemaas_admin_task_failures_total", "task"),),
        ),
        Panel(
            title="Since the last model sync",
            unit="s",
            about="The alert is at one hour.",
            empty="Empty while syncs are off.",
            queries=(Query("time() - (max(litemaas_model_sync_timestamp_seconds) > 0)", "age"),),
        ),
        Panel(
            title="Messages that wait",
            about="By channel.",
            queries=(Query("max by (channel) (litemaas_deliveries_waiting)", "{{channel}}"),),
        ),
        Panel(
            title="Age of the oldest message",
            unit="s",
            about="The alert is at one hour.",
            queries=(Query("max by (channel) (litemaas_deliveries_oldest_seconds)", "{{channel}}"),),
        ),
        Panel(
            title="Messages given up in a month",
            about="By channel.",
            queries=(Query("max by (channel) (litemaas_deliveries_failed)", "{{channel}}"),),
        ),
    ),
)

CLICKHOUSE: Final = Row(
    "ClickHouse",
    (
        Panel(
            title="How far it is behind",
            unit="s",
            about="Since it had everything that was in the ledger. The alert is at ten minutes.",
            empty="Empty without ClickHouse, and until it has everything for the first time.",
            queries=(Query("time() - (max(litemaas_usage_store_timestamp_seconds) > 0)", "behind"),),
        ),
        Panel(
            title="Rows found missing, and sent",
            about="Calls and corrections: at the last comparison, and sent in a second.",
            queries=(
                Query("max(litemaas_usage_store_rows_missing)", "missing"),
                rate("litemaas_usage_store_rows_total"),
            ),
        ),
        Panel(
            title="Questions answered from Postgres",
            unit="cps",
            about="Because ClickHouse failed or was behind.",
            empty=NEVER,
            queries=(rate("litemaas_usage_store_fallbacks_total", "cause"),),
        ),
    ),
)

REPLICAS: Final = Row(
    "Processes",
    (
        Panel(
            title="Processor",
            unit="none",
            width=12,
            about="Processor cores that each replica uses.",
            queries=(rate("process_cpu_seconds_total", "instance", ADMIN_JOB),),
        ),
        Panel(
            title="Memory",
            unit="bytes",
            width=12,
            about="Of each replica.",
            queries=(Query(f"process_resident_memory_bytes{ADMIN_JOB}", "{{instance}}"),),
        ),
    ),
)

ADMIN: Final = Dashboard(
    "admin", "admin API", "Requests, periodic tasks and messages.", (REQUESTS, TASKS, CLICKHOUSE, REPLICAS)
)
