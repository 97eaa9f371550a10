"""The dashboards about calls: as callers see them, and as LiteLLM answers them."""

from typing import Final

from deploy.grafana.panels import NEVER, Dashboard, Panel, Query, Row, Variable, quantiles, rate

GATEWAY: Final = '{job="litemaas-gateway"}'
MODEL: Final = '{model=~"$model"}'

OBJECTIVES: Final = Row(
    "Objectives and programs",
    (
        Panel(
            title="Budget left of 30 days",
            kind="stat",
            width=6,
            unit="percentunit",
            about="What is left of the share of calls that may fail: docs/metrics.md has the objectives.",
            queries=(
                Query(
                    "1 - avg_over_time(litemaas:slo_failed:rate5m[30d]) / avg_over_time(litemaas:slo_total:rate5m[30d])"
                    " / litemaas:slo_budget:ratio",
                    "{{slo}}",
                ),
            ),
        ),
        Panel(
            title="Gateways that answer",
            kind="stat",
            width=6,
            unit="none",
            about="Gateways that Prometheus reaches, and their workers.",
            queries=(Query(f"sum(up{GATEWAY})", "gateways"), Query("sum(litemaas_workers)", "workers")),
        ),
        Panel(
            title="Workers in trouble",
            kind="stat",
            width=6,
            unit="none",
            about="Not ready: they refuse calls or are about to stop. Degraded: they serve while a part is away.",
            queries=(
                Query("sum(litemaas_workers_not_ready)", "not ready"),
                Query("sum(litemaas_workers_degraded)", "degraded"),
            ),
        ),
        Panel(
            title="Versions",
            kind="stat",
            width=6,
            unit="none",
            about="Programs by their version: two only while a new one is rolled out.",
            queries=(
                Query("count by (job, version, python) (litemaas_build_info)", "{{job}} {{version}} ({{python}})"),
            ),
        ),
        Panel(
            title="Burn rate",
            width=24,
            unit="none",
            about="How many times faster than the budget allows calls fail. Alerts are at 14.4 (1 h) and 6 (6 h).",
            queries=(
                Query("litemaas:slo_failed:ratio_rate1h / litemaas:slo_budget:ratio", "{{slo}}, 1 h"),
                Query("litemaas:slo_failed:ratio_rate6h / litemaas:slo_budget:ratio", "{{slo}}, 6 h"),
            ),
        ),
    ),
)

CALLS: Final = Row(
    "Calls",
    (
        Panel(
            title="Calls by endpoint",
            unit="reqps",
            stacked=True,
            about="Calls that were forwarded, by endpoint.",
            queries=(rate("litemaas_calls_total", "endpoint"),),
        ),
        Panel(
            title="Calls by status",
            unit="reqps",
            stacked=True,
            about="Calls that were forwarded, by the status of their answer.",
            queries=(rate("litemaas_calls_total", "status"),),
        ),
        Panel(
            title="Errors of the gateway by code",
            unit="reqps",
            stacked=True,
            about="Answers that the gateway itself made; docs/errors.md has the codes.",
            queries=(rate("litemaas_errors_total", "code"),),
        ),
        Panel(
            title="Calls by ending",
            unit="reqps",
            stacked=True,
            about="How answers ended: also a stream that began well may break off.",
            queries=(rate("litemaas_calls_total", "ending"),),
        ),
        Panel(
            title="Calls under way",
            about="Calls that are forwarded now, and open realtime sessions.",
            queries=(
                Query("sum(litemaas_calls_in_flight)", "calls"),
                Query("sum(litemaas_realtime_sessions_open)", "realtime sessions"),
            ),
        ),
        Panel(
            title="Tokens",
            unit="cps",
            stacked=True,
            about="Tokens in a second, by direction.",
            queries=(rate("litemaas_tokens_total", "direction"),),
        ),
        Panel(
            title="Cost in an hour",
            unit="currencyUSD",
            about="What calls cost at the present rate.",
            queries=(rate("litemaas_cost_nano_usd_total", factor=" * 3600 / 1e9"),),
        ),
        Panel(
            title="Time to the first byte",
            unit="s",
            about="From the request to the first byte of the answer.",
            queries=quantiles("litemaas_first_byte_seconds"),
        ),
        Panel(
            title="Time to the end",
            unit="s",
            about="From the request to the end of the answer.",
            queries=quantiles("litemaas_call_seconds"),
        ),
        Panel(
            title="The gateway's own share",
            unit="s",
            about="What the gateway adds to a call: without waits for LiteLLM and for the caller.",
            queries=quantiles("litemaas_own_seconds"),
        ),
    ),
)

PROCESSES: Final = Row(
    "Processes",
    (
        Panel(
            title="Processor",
            unit="none",
            about="Processor cores that the workers of each gateway use.",
            queries=(rate("process_cpu_seconds_total", "instance", GATEWAY),),
        ),
        Panel(
            title="Memory",
            unit="bytes",
            about="Memory of the workers of each gateway.",
            queries=(Query(f"process_resident_memory_bytes{GATEWAY}", "{{instance}}"),),
        ),
        Panel(
            title="How late the event loop is",
            unit="s",
            about="How late the busiest worker came to a task that was due. Above 0.05 s another worker helps.",
            queries=(Query("litemaas_loop_delay_seconds", "{{instance}}"),),
        ),
        Panel(
            title="Open files and connections",
            unit="percentunit",
            about="Of the most that a worker may have.",
            queries=(Query(f"process_open_fds{GATEWAY} / process_max_fds{GATEWAY}", "{{instance}}"),),
        ),
        Panel(
            title="Age of the youngest worker",
            unit="s",
            about="It falls to zero when a worker starts again.",
            queries=(Query(f"time() - process_start_time_seconds{GATEWAY}", "{{instance}}"),),
        ),
        Panel(
            title="Access log lines dropped",
            unit="cps",
            about="Lines that the output of the log did not take.",
            queries=(rate("litemaas_access_log_lines_dropped_total"),),
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    "overview", "overview", "Whether callers are served, how fast, and by what.", (OBJECTIVES, CALLS, PROCESSES)
)

ADDRESSES: Final = Row(
    "Addresses of LiteLLM",
    (
        Panel(
            title="Answers by class of status",
            unit="reqps",
            about="Of each address of LiteLLM.",
            queries=(rate("litemaas_upstream_answers_total", "address, status"),),
        ),
        Panel(
            title="Failures by cause",
            unit="reqps",
            about="Unreachable, broken, silent, or an error that LiteLLM did not sign.",
            empty=NEVER,
            queries=(rate("litemaas_upstream_failures_total", "address, cause"),),
        ),
        Panel(
            title="Workers that leave it out",
            about="Workers whose breaker is open for the address.",
            empty="Empty until an address has failed or answered under this version.",
            queries=(Query("sum by (address) (litemaas_upstream_left_out)", "{{address}}"),),
        ),
        Panel(
            title="Calls under way",
            about="Calls that the address is answering now.",
            queries=(Query("sum by (address) (litemaas_upstream_calls_in_flight)", "{{address}}"),),
        ),
        Panel(
            title="Comments sent into silent streams",
            unit="cps",
            about="Each is a wait in which a model said nothing.",
            queries=(rate("litemaas_pings_total"),),
        ),
        Panel(
            title="Calls read on after their caller left",
            unit="reqps",
            about="By what they are charged by: usage that was reported, or an estimate.",
            empty=NEVER,
            queries=(rate("litemaas_read_on_total", "charged_by"),),
        ),
    ),
)

MODELS: Final = Row(
    "Models",
    (
        Panel(
            title="Calls by model",
            unit="reqps",
            stacked=True,
            about="Models beyond LITEMAAS_METRICS_MODELS are together `other`.",
            queries=(rate("litemaas_model_calls_total", "model, provider", MODEL),),
        ),
        Panel(
            title="Calls that did not complete",
            unit="reqps",
            about="By model and ending.",
            empty=NEVER,
            queries=(rate("litemaas_model_calls_total", "model, ending", '{model=~"$model", ending!="completed"}'),),
        ),
        Panel(
            title="Tokens by model",
            unit="cps",
            about="Tokens in a second, by direction.",
            queries=(rate("litemaas_model_tokens_total", "model, direction", MODEL),),
        ),
        Panel(
            title="Cost in an hour by model",
            unit="currencyUSD",
            stacked=True,
            about="At the present rate.",
            queries=(rate("litemaas_model_cost_nano_usd_total", "model", MODEL, factor=" * 3600 / 1e9"),),
        ),
        Panel(
            title="Time to the first byte by model",
            unit="s",
            about="The 95th percentile of each model.",
            queries=quantiles("litemaas_model_first_byte_seconds", "model", MODEL),
        ),
        Panel(
            title="Time to the end by model",
            unit="s",
            about="The 95th percentile of each model.",
            queries=quantiles("litemaas_model_call_seconds", "model", MODEL),
        ),
    ),
)

PRICES: Final = Row(
    "Prices and answers that are not as expected",
    (
        Panel(
            title="Difference of prices in an hour",
            unit="currencyUSD",
            about="Between LiteLLM's figure of a call and that of the model's price, by which is higher.",
            queries=(rate("litemaas_cost_difference_nano_usd_total", "higher", factor=" * 3600 / 1e9"),),
            empty="Empty where LiteLLM reports no cost, or always that of the price.",
        ),
        Panel(
            title="Implausible costs",
            unit="reqps",
            about="LiteLLM reported more than ten times what the call can cost; it was charged by its price.",
            queries=(rate("litemaas_implausible_costs_total"),),
        ),
        Panel(
            title="Answered by another model",
            unit="reqps",
            about="Than the key was granted; charged by that model's price.",
            queries=(rate("litemaas_other_models_served_total"),),
        ),
    ),
)

UPSTREAM: Final = Dashboard(
    "upstream",
    "upstream",
    "How LiteLLM and its models answer.",
    (ADDRESSES, MODELS, PRICES),
    (Variable("model", "litemaas_model_calls_total"),),
)
