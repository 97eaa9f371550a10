"""The dashboards about limits: what they refuse, and which teams are near theirs."""

from typing import Final

from deploy.grafana.panels import NEVER, Dashboard, Panel, Query, Row, Variable, quantiles, rate

TEAM_FILTER: Final = '{team=~"$team"}'
NO_TEAMS: Final = "Empty unless LITEMAAS_METRICS_TEAMS is set and a team has used something of a limit."

REFUSALS: Final = Row(
    "Refusals",
    (
        Panel(
            title="Refused by limits",
            unit="reqps",
            stacked=True,
            about="By the level and kind of the limit.",
            empty=NEVER,
            queries=(rate("litemaas_refusals_total", "level, kind"),),
        ),
        Panel(
            title="Would be refused by shadow limits",
            unit="reqps",
            stacked=True,
            about="Limits that only count: what would happen if they were enforced.",
            empty=NEVER,
            queries=(rate("litemaas_shadow_refusals_total", "level, kind"),),
        ),
        Panel(
            title="Compared with the day before",
            unit="none",
            about="Refusals in ten minutes as a multiple of the day before. The alerts are at five.",
            empty="Empty on the first day, and while nothing is refused.",
            queries=(
                Query(
                    "litemaas:refusals:rate10m / avg_over_time(litemaas:refusals:rate10m[1d] offset 10m)", "by limits"
                ),
                Query(
                    "litemaas:callers_refused:rate10m / avg_over_time(litemaas:callers_refused:rate10m[1d] offset 10m)",
                    "by key, address, model or fields",
                ),
            ),
        ),
        Panel(
            title="Refused before any limit",
            unit="reqps",
            stacked=True,
            about="Keys, accounts, addresses, models and fields, by code.",
            empty=NEVER,
            queries=(
                rate(
                    "litemaas_errors_total",
                    "code",
                    '{code=~"missing_api_key|invalid_api_key|api_key_expired|account_suspended|ip_not_allowed'
                    '|model_not_found|parameter_not_allowed"}',
                ),
            ),
        ),
        Panel(
            title="Refused for a field",
            unit="reqps",
            about="Fields that no list allows, by endpoint.",
            empty=NEVER,
            queries=(rate("litemaas_parameters_refused_total", "endpoint"),),
        ),
        Panel(
            title="Calls without Redis",
            unit="reqps",
            about="Denied, allowed, or within a worker's share of the limits.",
            empty=NEVER,
            queries=(rate("litemaas_limits_unavailable_total", "outcome"),),
        ),
    ),
)

REDIS: Final = Row(
    "Redis",
    (
        Panel(
            title="Time of a script",
            unit="s",
            about="The 95th percentile of each. Every call waits for `reserve`.",
            queries=quantiles("litemaas_redis_seconds", "script"),
        ),
        Panel(
            title="Scripts without an answer",
            unit="reqps",
            about="Not connected, no answer in time, or Redis cannot serve now.",
            queries=(rate("litemaas_redis_failures_total", "script"),),
        ),
        Panel(
            title="Workers connected",
            about="It is that of all workers while Redis is there.",
            queries=(
                Query("sum(litemaas_redis_connected)", "connected"),
                Query("sum(litemaas_workers)", "workers"),
            ),
        ),
    ),
)

COUNTERS: Final = Row(
    "Counters and leases",
    (
        Panel(
            title="Counters against the ledger",
            unit="percentunit",
            about="The largest difference at the last look, by kind of limit. The alert is at 5 %.",
            empty="Empty until counters were compared for the first time, after five minutes.",
            queries=(Query("max by (kind) (litemaas_counter_drift)", "{{kind}}"),),
        ),
        Panel(
            title="Counters seeded",
            unit="cps",
            about="Computed from the ledger, because Redis did not have them.",
            queries=(rate("litemaas_counters_seeded_total"),),
        ),
        Panel(
            title="Leases",
            unit="cps",
            about="Reaped: of gateways that died. Lost: by Redis, and taken again.",
            queries=(
                Query("sum(rate(litemaas_leases_reaped_total[$__rate_interval]))", "reaped"),
                Query("sum(rate(litemaas_leases_lost_total[$__rate_interval]))", "lost"),
            ),
        ),
        Panel(
            title="Ended calls that are not settled yet",
            about="Their leases still hold what they reserved.",
            queries=(Query("sum(litemaas_settlements_waiting)", "calls"),),
        ),
        Panel(
            title="Key records held",
            about="In the caches of all workers.",
            queries=(Query("sum(litemaas_cached_keys)", "keys"),),
        ),
        Panel(
            title="Look-ups of stored responses",
            unit="reqps",
            about="By where their owner was found.",
            empty=NEVER,
            queries=(rate("litemaas_response_look_ups_total", "found_in"),),
        ),
    ),
)

LIMITS: Final = Dashboard(
    "limits", "limits", "What limits refuse, and how well they count.", (REFUSALS, REDIS, COUNTERS)
)

TEAMS: Final = Row(
    "Teams nearest to their limits",
    (
        Panel(
            title="Limits that are used up",
            kind="stat",
            width=12,
            unit="none",
            about="Limits of teams of which nothing is left.",
            queries=(Query(f"count(litemaas_team_limit_used_ratio{TEAM_FILTER} >= 1) or vector(0)", "limits"),),
        ),
        Panel(
            title="Limits with less than a fifth left",
            kind="stat",
            width=12,
            unit="none",
            about="Limits of teams that are used by more than 80 %.",
            queries=(Query(f"count(litemaas_team_limit_used_ratio{TEAM_FILTER} > 0.8) or vector(0)", "limits"),),
        ),
        Panel(
            title="Highest share used, by team",
            unit="percentunit",
            width=24,
            about="Each team's limit that is used most. Names of teams are shown to everybody who sees this.",
            empty=NO_TEAMS,
            queries=(Query(f"max by (team) (litemaas_team_limit_used_ratio{TEAM_FILTER})", "{{team}}"),),
        ),
        Panel(
            title="Every limit of the chosen teams",
            unit="percentunit",
            width=24,
            about="What the team has used of each limit on all it uses; 100 % is the whole limit. "
            "What it spent on what is on the usage pages of the portal: metrics have no team or user beside this.",
            empty=NO_TEAMS,
            queries=(
                Query(
                    f"max by (team, kind, window) (litemaas_team_limit_used_ratio{TEAM_FILTER})",
                    "{{team}}: {{kind}}, {{window}}",
                ),
            ),
        ),
    ),
)

TEAM: Final = Dashboard(
    "team",
    "teams",
    "How near teams are to their limits: of the LITEMAAS_METRICS_TEAMS teams that are nearest, off by default.",
    (TEAMS,),
    (Variable("team", "litemaas_team_limit_used_ratio"),),
)
