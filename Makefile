# Two commands: `make demo` runs everything on this machine, `make test` is everything a change needs.
# They need Python 3.11 to 3.14 with venv, make and the package registries. Everything they create is in .venv,
# .venv-* and .demo.

VENV := .venv
DEBIAN_SERVERS := .venv-debian-servers
BIN := $(VENV)/bin
LOCKS := deploy/embedded
IMAGE_LOCKS := deploy/requirements.lock deploy/image/sbom-requirements.lock
CLIENT_LOCKS := $(patsubst %.in,%.lock,$(wildcard tests/clients/python/*.in loadtests/bench/*.in))
LITELLM_VERSION := 1.106.2
UV_VERSION := 0.13.9

# The first that works: a name on the PATH may be a stub without Python.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& command -v $$p && break; done)

# uv must use the Python that was found, and download no other.
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The tests start hundreds of Python processes: each reads bytecode that one of them wrote, also where an image or a shell
# sets this. Of the 28 seconds in which a process collects the tests, compiling is 17.
unexport PYTHONDONTWRITEBYTECODE

NO_PYTHON := No Python from 3.11 to 3.14 with venv was found: install one, or name it: make PYTHON=/path/to/python3.
NO_PACKAGES := The packages could not be installed: is the package registry reachable?

.PHONY: help demo test coverage compiled-tests test-python lint format lock check-wheels litellm install clean litellm-parameters allowed-fields bench \
	tables test-long mutants closed-loop admin-bench capacity messages compare-limits script-cost estimates fuzz metrics-cost own-cost portal-bench check-rules rule-mutants monitoring-tools dashboards \
	endings usage-bench chaos distributed operations rolling tls test-debian audit upgrade ledger-cpu loadtest soak memory \
	clickhouse chart try-openapi explain-states record-clients clients client-packages browser portal pictures portal-speed image image-test

help:
	@echo "make demo [CHECK=1] [SAMPLE=1]   everything on this machine, until Ctrl-C; CHECK=1: one round trip;"
	@echo "                          SAMPLE=1: with a month of made-up calls"
	@echo "make test [ARGS='-k x'] [COVERAGE=1]   lint, types, import rules and all tests; COVERAGE=1: how many lines they run"
	@echo "make test-python PYTHON=/path/to/python3   the same with another Python, in environments of its own"
	@echo "make image [LITELLM=1]    the container image, or that of LiteLLM, with docker, podman or buildah; BASE=image"
	@echo "make image-test           builds it and runs it beside real Postgres, Valkey and LiteLLM"
	@echo "make bench [QUICK=1]      speed beside nginx, Envoy, Portkey and LiteLLM: 40 minutes; QUICK=1 less than 5"
	@echo "make loadtest [SCRIPT=steady|burst|hang_up|soak] [DURATION=30s]   k6 on the demo, and whether the ledger agrees"
	@echo "make lint | format        the first part of it | format the code with ruff"
	@echo "make audit [SERVICE=osv]  known vulnerabilities of the locked packages; needs PyPI's or OSV's data"
	@echo "make lock [UPGRADE=1]     write the lock files, keeping versions unless UPGRADE"
	@echo "make clean                remove .demo and all environments"

demo: install
	@$(BIN)/python -m deploy.embedded $(if $(CHECK),--check) $(if $(SAMPLE),--sample)

# In four processes on two cores, a file in one of them (tests/xdist_scheduling.py): many tests wait for what real programs do.
# In order, because the last ones are quick: by number of tests, files with a few long ones would come last and the
# other processes would wait. COVERAGE=1: also which lines of gateway and admin_api run, in every process; WRITE=1 puts
# the figure into README.md.
test: install
	@$(MAKE) --no-print-directory -j 2 lint litellm client-packages browser monitoring-tools compiled-tests
	$(if $(COVERAGE),@rm -rf .cache/coverage && mkdir -p .cache/coverage)
	$(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest $(if $(ARGS),$(ARGS),-n 4 --dist loadfile --no-loadscope-reorder)
	$(if $(COVERAGE),@$(BIN)/python -m tests.contract.coverage_figure $(if $(ARGS),--some) $(if $(WRITE),--write))

coverage:
	@$(MAKE) --no-print-directory test COVERAGE=1 WRITE=1

# The processes collect all tests at the same time: in a new checkout each of them would compile all of them. What
# fails here fails in the run itself.
compiled-tests: install
	@find tests -name 'test_*-pytest-*.pyc' 2>/dev/null | grep -q . || $(BIN)/python -m pytest --collect-only -q > /dev/null || true

# The environments are .venv-3.13, .venv-3.13-litellm and .venv-3.13-clients, and stay for the next time.
test-python:
	@version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || { echo "$(NO_PYTHON)" >&2; exit 1; }; \
		$(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$(PYTHON)"

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# --- Installation. A stamp file for each step, so that a second run does nothing. ---

install: $(VENV)/installed-project

litellm: install
	@$(BIN)/python -m deploy.embedded.litellm_venv

$(VENV)/installed-uv: $(LOCKS)/uv-requirements.lock
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); test -n "$(PYTHON)" && "$(PYTHON)" -m venv $(VENV); } \
		|| { echo "$(NO_PYTHON)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --require-hashes -r $< || { echo "$(NO_PACKAGES)" >&2; exit 1; }
	@touch $@

# --no-deps: the lock files name every package, so nothing is left to resolve.
$(VENV)/installed-packages: requirements.lock $(LOCKS)/build-requirements.lock $(VENV)/installed-uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps \
		-r requirements.lock -r $(LOCKS)/build-requirements.lock || { echo "$(NO_PACKAGES)" >&2; exit 1; }
	@touch $@

# It builds what deploy/build_portal.py makes of these.
PORTAL = $(wildcard deploy/build_portal.py admin_api/portal/assets/*.* admin_api/portal/own/* admin_api/portal/locales/*/LC_MESSAGES/*.po)
$(VENV)/installed-project: pyproject.toml $(PORTAL) $(VENV)/installed-packages
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# The catalogues of the portal's texts, from its code and templates; translations stay. Edit the .po files, then `make install`.
MESSAGES = admin_api/portal/locales
EXTRACT = $(abspath $(BIN))/pybabel -q extract --no-location --sort-output --omit-header --no-wrap
UPDATE = $(BIN)/pybabel -q update --no-fuzzy-matching --ignore-pot-creation-date --no-wrap
messages: install
	cd admin_api/portal && $(EXTRACT) -F babel.cfg -k marked --project=LiteMaaS --copyright-holder= -o locales/messages.pot .
	cd admin_api && PYTHONPATH=.. $(EXTRACT) -F portal/operations.cfg -o portal/locales/operations.pot .
	cd gateway && PYTHONPATH=.. $(EXTRACT) -F ../admin_api/portal/gateway.cfg -o ../$(MESSAGES)/gateway.pot .
	for l in es fr; do for d in messages operations gateway; do test -f $(MESSAGES)/$$l/LC_MESSAGES/$$d.po \
		|| $(BIN)/pybabel -q init -D $$d -i $(MESSAGES)/$$d.pot -d $(MESSAGES) -l $$l; \
		$(UPDATE) -D $$d -i $(MESSAGES)/$$d.pot -d $(MESSAGES) -l $$l; done; done

# --- The container image, with docker or podman, or with buildah as root. BASE=image to build on another. ---

# LITELLM=1: the image of LiteLLM.
image: install
	@$(BIN)/python -m deploy.image build $(if $(LITELLM),--target litellm) $(if $(BASE),--base $(BASE))

# Builds it and runs it as a cluster would, beside the demo's Postgres, Valkey, LiteLLM and model server.
image-test: litellm
	@$(BIN)/python -m deploy.image test $(if $(BASE),--base $(BASE))

# --- Lock files: every version and hash, and no address. Versions stay, unless UPGRADE=1. ---

COMPILE = $(BIN)/uv pip compile --quiet --python $(BIN)/python --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

lock: $(VENV)/installed-uv
	@# uv keeps the hashes of a version that stays: those of wheels for a Python that came later would be missing.
	sed -i -e '/^    --hash=/d' -e 's/ \\$$//' $(IMAGE_LOCKS) $(LOCKS)/*.lock requirements.lock $(CLIENT_LOCKS)
	$(COMPILE) --all-extras --group dev pyproject.toml -o requirements.lock
	$(COMPILE) -c requirements.lock --extra clickhouse --extra otel pyproject.toml -o deploy/requirements.lock
	echo 'uv==$(UV_VERSION)' | $(COMPILE) - -o $(LOCKS)/uv-requirements.lock
	printf 'hatchling>=1.27\neditables\nbabel>=2.18\nbrotli>=1.2\nnodejs-wheel-binaries\n' | $(COMPILE) -c requirements.lock - -o $(LOCKS)/build-requirements.lock
	echo 'chdb-core' | $(COMPILE) --no-deps - -o $(LOCKS)/chdb-requirements.lock
	echo 'cyclonedx-bom' | $(COMPILE) -c requirements.lock - -o deploy/image/sbom-requirements.lock
	echo 'pip-audit' | $(COMPILE) -c requirements.lock - -o $(LOCKS)/audit-requirements.lock
	printf 'litellm[proxy]==$(LITELLM_VERSION)\nprisma\n' | $(COMPILE) --no-annotate - \
		-o $(LOCKS)/litellm-requirements.lock
	@for client in $(CLIENT_LOCKS:.lock=); do \
		$(COMPILE) --no-annotate $$client.in -o $$client.lock || exit 1; done
	@$(MAKE) --no-print-directory install
	PYTHONPATH=tests:. $(BIN)/python -m clients.lock
	@! grep -n '://' requirements.lock $(IMAGE_LOCKS) $(LOCKS)/*.lock $(CLIENT_LOCKS) || { echo "An address is in a lock file." >&2; exit 1; }
	@$(MAKE) --no-print-directory check-wheels

# Each lock file holds a wheel of every package for each Python in pyproject.toml, so that nobody needs a compiler: by
# installing them into a folder, since a dry run compares no hashes. What the images are made of: also for 64-bit ARM.
check-wheels: $(VENV)/installed-uv
	@for python in $$(sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml); do \
		for lock in requirements.lock $(IMAGE_LOCKS) $(LOCKS)/*.lock; do \
			rm -rf .cache/wheels && echo "Python $$python: $$lock" \
				&& $(BIN)/uv pip install --quiet --no-deps --only-binary :all: --require-hashes --python-version $$python \
				--target .cache/wheels -r $$lock || exit 1; done; done
	@for lock in $(IMAGE_LOCKS) $(LOCKS)/build-requirements.lock $(LOCKS)/litellm-requirements.lock; do \
		rm -rf .cache/wheels && echo "64-bit ARM: $$lock" \
			&& $(BIN)/uv pip install --quiet --no-deps --only-binary :all: --require-hashes --python-version 3.13 \
			--python-platform aarch64-manylinux_2_28 --target .cache/wheels -r $$lock || exit 1; done
	@rm -rf .cache/wheels

# --- Longer test profiles, and what is generated from the code. ---

# The property test of the limits' scripts, for more than 10,000 steps.
test-long: install
	LITEMAAS_TEST_STEPS=12000 $(BIN)/python -m pytest tests/limits/test_stateful.py --timeout 3600

# 10,000 random states of keys, other ones each time: explain and the gateway say the same. STATES=n of them.
explain-states: install
	LITEMAAS_TEST_STATES=$(or $(STATES),10000) $(BIN)/python -m pytest tests/functional/test_a2_explain_agrees.py \
		--timeout 7200

# 5,000 random requests.
fuzz: install
	LITEMAAS_TEST_REQUESTS=5000 $(BIN)/python -m pytest tests/functional/test_fuzz.py

# Many requests generated from the OpenAPI document.
try-openapi: install
	LITEMAAS_TEST_EXAMPLES=40 $(BIN)/python -m pytest tests/integration/test_running_admin_api.py -k openapi \
		--timeout 3600 -s

# ClickHouse's engine, 560 MB in an environment of its own, answers usage questions as the rollups do.
clickhouse: install .venv-chdb/installed
	$(BIN)/python -m pytest -q tests/clickhouse/check_usage_store.py

.venv-chdb/installed: $(LOCKS)/chdb-requirements.lock $(VENV)/installed-uv
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-chdb
	@$(BIN)/uv pip install --quiet --python .venv-chdb/bin/python --require-hashes --no-deps -r $< \
		|| { echo "$(NO_PACKAGES)" >&2; exit 1; }
	@touch $@

# Breaks the scripts in one place at a time: a test must catch every break.
mutants: install
	$(BIN)/python tests/limits/mutants.py

# Known vulnerabilities of every locked package, of PyPI or with SERVICE=osv of OSV, at OSV_URL if it is a mirror.
audit: install $(VENV)-audit/installed
	@$(BIN)/python -m deploy.audit $(if $(SERVICE),--service $(SERVICE)) $(if $(OSV_URL),--osv-url $(OSV_URL))

$(VENV)-audit/installed: $(LOCKS)/audit-requirements.lock
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-audit
	@$(BIN)/uv pip install --quiet --python $(VENV)-audit/bin/python --require-hashes --no-deps -r $< \
		|| { echo "$(NO_PACKAGES)" >&2; exit 1; }
	@touch $@

ON_DEBIANS = LITEMAAS_PG_BIN=$$(echo $(CURDIR)/$(DEBIAN_SERVERS)/usr/lib/postgresql/*/bin) \
	LITEMAAS_VALKEY_SERVER=$(CURDIR)/$(DEBIAN_SERVERS)/redis-server

# TLS with a Postgres and a Redis that speak it themselves: Debian's, unpacked and not installed.
tls: litellm $(DEBIAN_SERVERS)/unpacked
	LITEMAAS_TEST_SERVERS_SPEAK_TLS=1 $(ON_DEBIANS) $(BIN)/python -m pytest tests/end_to_end/test_private_ca.py

# The tests of all that speaks with Postgres and Redis, on Debian's: those of Debian 12 are the oldest that are promised.
# But for those of the compose file's own Valkey.
test-debian: litellm $(DEBIAN_SERVERS)/unpacked
	@$(ON_DEBIANS); "$$LITEMAAS_PG_BIN"/postgres --version && "$$LITEMAAS_VALKEY_SERVER" --version
	$(ON_DEBIANS) $(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n 4 --dist loadfile --no-loadscope-reorder tests/integration \
		tests/limits tests/functional --ignore tests/integration/test_valkey_of_compose.py --ignore tests/functional/test_redis_user.py)

# Debian names Postgres's package by its version. What Redis's program does is by its name.
$(DEBIAN_SERVERS)/unpacked:
	@PATH=$$PATH:/sbin ldconfig -p | grep -q 'libpq\.so\.5' || { echo "Debian's Postgres needs libpq5: apt-get install libpq5" >&2; exit 1; }
	@rm -rf $(DEBIAN_SERVERS) && mkdir -p $(DEBIAN_SERVERS) && cd $(DEBIAN_SERVERS) \
		&& { postgres=$$(apt-cache depends postgresql | sed -n 's/.*Depends: \(postgresql-[0-9]*\)$$/\1/p') && test -n "$$postgres" \
		&& apt-get download -q $$postgres postgresql-client-$${postgres#postgresql-} redis-tools liblzf1 libjemalloc2 \
		&& for one in *.deb; do dpkg-deb -x $$one .; done; } \
		|| { echo "Postgres and Redis could not be unpacked: this needs Debian's apt and its package lists." >&2; exit 1; }
	@cd $(DEBIAN_SERVERS) && rm -f *.deb && ln -sf redis-check-rdb usr/bin/redis-server \
		&& printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$$@"\n' "$$(echo $$PWD/usr/lib/*-linux-gnu)" $$PWD/usr/bin/redis-server \
		> redis-server && chmod +x redis-server && touch unpacked

# All gateways are restarted one after the other under STREAMS=200 open streams.
rolling: install
	LITEMAAS_TEST_STREAMS=$(or $(STREAMS),200) $(BIN)/python -m pytest -q tests/functional/test_rolling_restart.py

# From the last release to this version and back under load: the release is installed in .venv-upgrade-VERSION from its
# commit, which must be in this clone.
upgrade: install
	PYTHONPATH=tests:. $(BIN)/python -m upgrade

# Every fault of docs/ledger.md against real processes, and its table; SHORT=1 less of each, ONLY="disk kill" some.
chaos: litellm
	PYTHONPATH=tests:. $(BIN)/python -m chaos $(if $(SHORT),--short) $(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write)

# Every part more than once, and each fails in turn: the table of docs/failures.md. ONLY="Postgres Redis" some, WRITE=1
# writes it.
distributed: litellm
	PYTHONPATH=tests:. $(BIN)/python -m distributed $(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write)

# Backup, restore, rotation and the other procedures of docs/operations.md with real servers under load, and their table:
# four to fifteen minutes. ONLY="redis dump" some of them; WRITE=1 puts the table there.
operations: litellm
	PYTHONPATH=tests:. $(BIN)/python -m operations $(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write)

# The processor time a call's usage row costs; WRITE=1 puts it into docs/ledger.md.
ledger-cpu: install
	$(BIN)/python -m loadtests.ledger_cpu $(if $(WRITE),--write)

# The tables of docs/ that are generated from the code.
tables: install
	$(BIN)/python -m tests.contract.tables

# The dashboards of Grafana, from deploy/grafana/*.py.
dashboards: install
	$(BIN)/python -m deploy.grafana.build

# What the examples of the Helm chart render to, in tests/chart/rendered: look at the difference before you commit it.
chart: install
	PYTHONPATH=tests:. $(BIN)/python -m tests.chart.golden

# The fields that control LiteLLM, as the pinned LiteLLM lists them.
litellm-parameters: litellm
	LITELLM_LOCAL_MODEL_COST_MAP=True .venv-litellm/bin/python -P deploy/embedded/list_litellm_parameters.py \
		> gateway/endpoints/litellm_parameters.txt
	$(BIN)/python -m tests.allowed_fields.list_reads

# The fields each endpoint takes, from the locked openai and anthropic packages.
allowed-fields: install
	$(BIN)/python -m tests.allowed_fields.vendor_fields

# The tables of docs/usage.md: ten million rows, seven minutes and 20 GB of disk. ROWS=100000 for a quick try;
# KEEP=folder to keep the database there and use it again.
usage-bench: install
	$(BIN)/python -m loadtests.usage_bench $(if $(ROWS),--rows $(ROWS)) $(if $(KEEP),--keep $(KEEP))

# The same load through nothing, nginx, Envoy, Portkey, LiteLLM and ours: 40 minutes; QUICK=1 less than five. WRITE=1 puts
# it into docs/performance.md, with AGAIN=1 what the last run has measured. RUNS, STAGES, PEERS and LIMITS
# choose; ALSO=name=/path/to/litemaas measures another commit's command beside this one's. Loopback only.
bench: install
	@$(BIN)/python -m loadtests.bench $(if $(QUICK),--quick) $(if $(WRITE),--write) $(if $(AGAIN),--again) \
		$(if $(RUNS),--runs $(RUNS)) $(if $(STAGES),--stages "$(STAGES)") \
		$(if $(PEERS),--peers "$(PEERS)") $(if $(LIMITS),--limits "$(LIMITS)") $(foreach one,$(ALSO),--also $(one))

# k6 on the demo that runs, or on one of its own, and whether callers, logs, ledger and Valkey agree afterwards. Loopback
# only. RATE, STREAM_RATE, BASE and SPIKE of the environment are calls a second (loadtests/README.md).
loadtest: litellm
	@PYTHONPATH=tests:. $(BIN)/python -m loadtests.k6 $(SCRIPT) $(if $(DURATION),--duration $(DURATION))

# The same for 30 minutes with everything mixed, and memory has to be flat. WRITE=1 puts it into docs/performance.md.
soak: litellm
	@PYTHONPATH=tests:. $(BIN)/python -m loadtests.k6 soak $(if $(DURATION),--duration $(DURATION)) $(if $(WRITE),--write)

# A worker's memory after 10,000 and 1,000,000 calls: ten minutes. CALLS=n of them; WRITE=1 puts it into
# docs/performance.md.
memory: install
	@$(BIN)/python -m loadtests.memory_calls $(if $(CALLS),--calls $(CALLS)) $(if $(WRITE),--write)

# The rules of Prometheus and their tests, by promtool.
check-rules: monitoring-tools
	$(BIN)/python -m pytest tests/monitoring/test_rules.py

# Changes one threshold or wait of the alerts at a time: a test must notice. Two to four minutes.
rule-mutants: monitoring-tools
	PYTHONPATH=tests:. $(BIN)/python -m tests.monitoring.rule_mutants

# Prometheus and promtool of Debian's package, which is unpacked and not installed; the tests would do it too.
monitoring-tools: install
	@PYTHONPATH=tests:. $(BIN)/python -m tests.monitoring.prometheus_package

# What our own Python takes of a call, step by step; BASE=v0.2.0 compares with a commit, ALSO="COMMAND" with another
# Python that has our packages, WRITE=1 puts the table into docs/performance.md.
own-cost: install
	@$(BIN)/python -m loadtests.own_cost $(if $(BASE),--base $(BASE)) $(if $(ALSO),--also "$(ALSO)") $(if $(WRITE),--write)

# What a deployment needs: three rounds, two minutes; WRITE=1 puts the tables into docs/capacity.md.
capacity: install
	@$(BIN)/python -m loadtests.capacity $(if $(WRITE),--write)

# The microseconds of docs/metrics.md.
metrics-cost: install
	$(BIN)/python -m loadtests.metrics_cost

# The tables of docs/limits.md. Three to five minutes each, but for the last two.
closed-loop: install
	$(BIN)/python tests/limits/closed_loop.py

compare-limits: litellm
	$(BIN)/python -m loadtests.litellm_limits.compare

# Every GET of the admin API beside ten million calls: about 25 minutes and 25 GB of disk. KEEP=folder keeps the database
# for the next time; ONLY=/audit asks some; USERS=500 ROWS=100000 for a quick try; WRITE=1 puts it into docs/admin.md.
admin-bench: install
	$(BIN)/python -m loadtests.admin_bench $(if $(USERS),--users $(USERS)) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(KEEP),--keep $(KEEP)) $(if $(ONLY),--only "$(ONLY)") $(if $(WRITE),--write) $(if $(LISTS),--lists)

# Every page of the portal beside ten million calls: about 20 minutes and 25 GB of disk; options as above.
portal-bench: install
	$(BIN)/python -m loadtests.portal_bench $(if $(USERS),--users $(USERS)) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(KEEP),--keep $(KEEP)) $(if $(ONLY),--only "$(ONLY)") $(if $(WRITE),--write)

script-cost: install
	$(BIN)/python -m loadtests.script_cost

# Every endpoint in every ending through LiteLLM: writes the tables of docs/endpoints.md.
endings: install litellm
	LITEMAAS_TEST_WRITES_PAGES=1 $(BIN)/python -m pytest tests/end_to_end/test_endings_table.py

# Every client against the gateway: writes the tables of docs/clients.md. 1.5 GB of packages, five minutes.
clients: install litellm
	PYTHONPATH=tests:. $(BIN)/python -m clients.table

# What the clients of `make test` need; their tests would install it too.
client-packages: install
	@PYTHONPATH=tests:. $(BIN)/python -m clients.install

# The Chromium of the portal's tests, and axe, below .venv (80 MB from npm); the tests would install them too.
browser: install
	@PYTHONPATH=tests:. $(BIN)/python -m portal.browser.install

# The pictures of the README, from a demo that runs with SAMPLE=1.
pictures: browser
	@PYTHONPATH=tests:. $(BIN)/python -m portal.browser.pictures

# Every page of the portal in Chromium: each language, theme and size, with axe on each, and pictures in
# .cache/portal, or in PICTURES=folder: ten minutes. ONLY=/admin some pages.
portal: browser
	$(if $(ONLY),LITEMAAS_TEST_PAGES=$(ONLY)) LITEMAAS_TEST_PICTURES=$(or $(PICTURES),.cache/portal) $(BIN)/python -m pytest tests/portal/test_browser_pages.py \
		--timeout 3600

# How fast the catalogue is in Chromium on a slow line and computer: writes the table of docs/portal.md.
portal-speed: browser
	LITEMAAS_TEST_WRITES_PAGES=1 $(BIN)/python -m pytest tests/portal/test_browser_speed.py

# What Claude Code, Codex and the JDK's client send, into tests/clients/recorded (800 MB of npm packages).
record-clients: install
	PYTHONPATH=tests:. $(BIN)/python -m clients.record

estimates: litellm
	.venv-litellm/bin/python -P loadtests/estimates.py

clean:
	rm -rf .venv .venv-* .demo tests/clients/*/node_modules loadtests/bench/*/node_modules
