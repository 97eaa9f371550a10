"""When migrations run: all before the first start, `pre` before new pods, `post` after those of the version before."""

from tests.chart.charts import Helm, Object, containers, values_of


def jobs(objects: list[Object]) -> dict[str, tuple[str, list[list[str]]]]:
    """Each Job's hook, and the words of its containers in their order: a command or arguments of `litemaas`."""
    return {
        one["metadata"]["name"]: (
            one["metadata"].get("annotations", {}).get("helm.sh/hook", ""),
            [container.get("command") or container["args"] for container in containers(one["spec"]["template"])],
        )
        for one in objects
        if one["kind"] == "Job"
    }


def test_an_installation_applies_all_migrations_before_the_pods(rendered: dict[str, list[Object]]) -> None:
    found = jobs(rendered["ten-thousand-users"])

    assert found["litemaas-migrate"] == ("pre-install,pre-upgrade", [["migrate"]])
    assert found["litemaas-commands"] == ("post-install", [["models", "sync"]])
    assert set(found) == {"litemaas-migrate", "litemaas-commands"}


def test_with_a_bundled_postgres_they_are_applied_beside_it(rendered: dict[str, list[Object]]) -> None:
    """Before an installation there is none, so a hook would wait for ever."""
    assert jobs(rendered["one-team"])["litemaas-migrate-first"] == ("", [["migrate"]])
    assert "litemaas-migrate-first" not in jobs(rendered["one-team, upgraded"])


def test_an_upgrade_applies_each_phase_in_its_time(rendered: dict[str, list[Object]]) -> None:
    for example in ("one-team", "ten-thousand-users", "openshift"):
        objects = rendered[f"{example}, upgraded"]
        found = jobs(objects)
        grace = max(
            one["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 0)
            for one in objects
            if one["metadata"]["name"] in ("litemaas-gateway", "litemaas-admin") and "template" in one["spec"]
        )

        assert found["litemaas-migrate"] == ("pre-install,pre-upgrade", [["migrate", "--phase", "pre"]])
        hook, (wait, migrate) = found["litemaas-migrate-post"]
        assert (hook, migrate) == ("post-upgrade", ["migrate", "--phase", "post"])
        assert wait[0] == "sleep"
        assert int(wait[1]) >= grace


def test_commands_run_one_after_another(helm: Helm) -> None:
    commands = [["settings", "set", "new_models", "open"], ["models", "sync"], ["models", "list"]]
    values = values_of("openshift") | {"commands": {"afterInstall": commands}}

    assert jobs(helm.objects(values))["litemaas-commands"] == ("post-install", commands)
    assert "litemaas-commands" not in jobs(helm.objects(values, is_upgrade=True))


def test_jobs_need_nothing_that_comes_after_them(rendered: dict[str, list[Object]]) -> None:
    """A hook before an installation has no service account, ConfigMap or Secret of the chart."""
    for objects in rendered.values():
        for one in objects:
            if "pre-install" in one["metadata"].get("annotations", {}).get("helm.sh/hook", ""):
                spec = one["spec"]["template"]["spec"]
                made = {
                    other["metadata"]["name"] for other in objects if other["kind"] in ("ConfigMap", "ServiceAccount")
                }
                named = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
                assert "serviceAccountName" not in spec
                assert not named & made


def test_going_back_runs_no_migrations(rendered: dict[str, list[Object]]) -> None:
    """`helm rollback`: the version before works with the tables as they are, until `post` was applied."""
    hooks = {hook for objects in rendered.values() for hook, _ in jobs(objects).values()}

    assert not {hook for hook in hooks if "rollback" in hook}
