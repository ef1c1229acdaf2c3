# M7 Pulse. `make up` shows it, `make test` proves it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# A folder with a func.yaml is a function.
FUNCTIONS := $(patsubst functions/%/func.yaml,%,$(wildcard functions/*/func.yaml))
MODULES := $(addprefix functions/,$(FUNCTIONS)) shared infra/local/github .
# The functions come first: their tests compute, those of the root wait.
PACKAGES := $(patsubst %,./%/...,$(filter-out .,$(MODULES))) ./...
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: long-test bench bench-queries help build up demo down test integration chaos lint vuln sbom clean api-test dashboards-test page-test page-vendor quality-test fields servers-test connect-test stage stage-test deploy image release release-test property-test cluster-up cluster-down cluster-test infra-test

# One set of flags for all that is not raced: what build has compiled is not compiled
# again to be vetted or tested. Without cgo: the embedded ClickHouse is bound at run
# time, no C compiler is needed. grpcnotrace leaves a page of gRPC out, which the
# messages of OTLP link: with its templates the linker can drop no method, and a
# function is 19 MB larger.
TAGS := grpcnotrace
UNRACED := build lint long-test api-test quality-test page-test dashboards-test servers-test connect-test stage-test cluster-up cluster-down cluster-test bench bench-queries
$(UNRACED): export CGO_ENABLED := 0
$(UNRACED): export GOFLAGS := $(GOFLAGS) -trimpath -tags=$(TAGS)

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

build: ## Build bin/pulse and, beside it, a program for each function.
	@mkdir -p bin
	@$(GO) build -v -o bin/ ./cmd/pulse ./cmd/functions/... 2>&1 | $(COUNT_BUILT)

# The first build names some hundred modules and two thousand packages: one line counts
# them. It is written over on a terminal (of standard error: in $( ) the output is none).
COUNT_BUILT := awk -v live="$$([ -t 2 ] && echo yes)" \
  'function said() { return sprintf("Go modules downloaded: %d, packages compiled: %d", modules, packages) } \
   /^go: downloading / { modules++; if (live) { printf "\r%s", said(); fflush() } next } \
   /^[a-z][^ :]*$$/ { packages++; if (live) { printf "\r%s", said(); fflush() } next } \
   { print } END { if (modules + packages > 9) printf "%s%s\n", live ? "\r" : "", said() }'

up: build ## Start everything on this machine (Ctrl-C or `make down` stops it; SUPERSET=0: no dashboards).
	@exec bin/pulse up $(if $(filter 0,$(SUPERSET)),,--superset)

demo: build ## Start everything with two simulated months of the seven companies: every counter, events, signals. In a home of its own.
	@exec bin/pulse up --demo $(if $(filter 0,$(SUPERSET)),,--superset)

down: build ## Stop what `make up` started; nothing is lost.
	@bin/pulse down

# -short leaves out what is only slow: long-test.
test: build ## Run the tests of every module with the race detector; downloads what it needs.
	$(GO) test -race -short -p 4 -timeout 20m $(PACKAGES)
	cd infra/check && CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath -tags=$(TAGS)' GOWORK=off $(GO) test -timeout 5m ./...

fields: ## Write what follows from the definitions of the fields: schemas, ClickHouse's next version, views, texts, documents.
	$(GO) test ./shared/event -run 'SchemasAreMade' -update
	$(GO) test ./functions/sink-clickhouse -run 'SchemaHas' -update
	$(GO) test ./shared/event ./shared/velocity ./shared/signal -run 'Document' -update
	$(GO) test ./alert -run 'UpToDate' -update
	$(GO) test ./infra/trino ./infra/local/superset -run 'Views|Texts' -update
	cd infra/check && GOWORK=off $(GO) test . -run 'Grafana' -update

# A failing seed is named; functions/fetch-org/sweep/chaos_test.go says how to run it alone.
SEEDS ?= 1000
ROUNDS ?= 50
SEED ?= 1
chaos: ## Inject faults into every process and server for ROUNDS (50) rounds by a SEED (1); then the fault of each alert; then SEEDS (1000) sweeps in virtual time.
	$(GO) test -count 1 -timeout 2h -v ./chaos/ -chaos.rounds $(ROUNDS) -chaos.faults 20 -chaos.seed $(SEED)
	$(GO) test -count 1 -timeout 1h -v -run 'Broken|BackPressure' ./chaos/ -chaos.broken -chaos.down 10m
	$(GO) test -count 1 -timeout 1h -v -run 'EachAlert' ./chaos/ -chaos.alerts
	$(GO) test -run 'TestSweepsThroughChaos|TestKilledProcesses' -timeout 2h ./functions/fetch-org/sweep -chaos.seeds $(SEEDS) -chaos.kills 30

integration: build ## Run what needs real servers, a browser or container tools; lists what ran and what could not. 15 min the first time.
	@infra/servers/integration.sh long-test property-test api-test quality-test page-test dashboards-test servers-test stage-test

long-test: build ## Run the tests of whole stacks, those that make test leaves out because they are slow among them.
	$(GO) test -count 1 -v -timeout 40m ./e2e ./e2e/events ./infra/local/clickhouse ./chaos ./demo .

property-test: ## Try aggregate's properties on 5000 cases each, a third of the recording and every fail point; larger tables; sweeps of 2000 repositories; a day of events.
	$(GO) test -race -count 1 -timeout 30m -v ./functions/aggregate -cases 5000 -recording.every 3 -failpoints.step 1
	$(GO) test -race -count 1 -timeout 30m ./functions/sink-iceberg -tables.compressed -tables.commits 40
	$(GO) test -race -count 1 -timeout 30m -v ./functions/fetch-org/sweep -run 'TestFigures|TestPointsOfASweep|TestSweepsThroughChaos' -repos 2000 -chaos.seeds 2
	$(GO) test -race -count 1 -timeout 30m ./shared/event -run TestAcceptedEvent
	$(GO) test -race -count 1 -timeout 30m -v ./functions/fetch-events -run 'TestADay|TestKilled' -chaos.kills 3

dashboards-test: build ## Test the dashboards in a real browser (needs chromium and Python).
	@command -v chromium >/dev/null || { echo "SKIPPED: no dashboard was opened: chromium is not on PATH" >&2; exit 0; }; \
	home=$$(mktemp -d); export PULSE_HOME=$$home; trap 'bin/pulse down; rm -rf $$home' EXIT; \
	bin/pulse up --detach --superset; \
	for i in $$(seq 900); do grep -q -e 'Superset is up' -e 'No dashboards' $$home/log/up.log && break; sleep 1; done; \
	if grep 'No dashboards.*none on PATH' $$home/log/up.log; then echo "SKIPPED: no dashboard was opened: no Python of a fitting version" >&2; exit 0; fi; \
	if grep 'No dashboards' $$home/log/up.log; then exit 1; fi; \
	export SUPERSET_URL=$$(sed -n 's/^Superset is up: \([^ ]*\).*/\1/p' $$home/log/up.log) SUPERSET_PASSWORD=$$(cat $$home/superset/admin-password); \
	set -a; . $$home/env; set +a; \
	$(GO) test -count 1 -tags integration,$(TAGS) -timeout 20m -v ./infra/local/superset/

SCHEMATHESIS := schemathesis==4.32.5
api-test: build ## Ask the API what its own description allows and what it does not: no 5xx, no answer that is not described (needs Python 3.10 or newer).
	@python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' || { echo "SKIPPED: the API was not held to its description: no Python 3.10 or newer with venv" >&2; exit 0; }; \
	venv=$${PULSE_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/m7pulse}/$(SCHEMATHESIS); \
	[ -x $$venv/bin/schemathesis ] || { python3 -m venv $$venv && $$venv/bin/pip install --quiet $(SCHEMATHESIS); }; \
	home=$$(mktemp -d); export PULSE_HOME=$$home API_RATE=100000; trap 'bin/pulse down; rm -rf $$home' EXIT; \
	bin/pulse up --detach >/dev/null; set -a; . $$home/env; set +a; \
	$$venv/bin/schemathesis --config-file infra/check/schemathesis.toml run $$API_URL/openapi.json

quality-test: build ## Hold a stack with the recording against the expectations of its data, and each against a fault planted for it (needs Python 3.11 or 3.12).
	@home=$$(mktemp -d); export PULSE_HOME=$$home; trap 'bin/pulse down; rm -rf $$home' EXIT; \
	bin/pulse quality --install 2>$$home/install || { grep -q 'none on PATH' $$home/install && { echo "SKIPPED: the quality was not checked: no Python of a fitting version" >&2; exit 0; }; cat $$home/install >&2; exit 1; }; \
	bin/pulse up --detach; set -a; . $$home/env; set +a; \
	$(GO) test -count 1 -tags integration,$(TAGS) -timeout 30m -v ./quality

page-test: build ## Test the page in a real browser, and that it, the API, the command line and the dashboards agree (needs chromium, and npm for axe-core).
	@command -v chromium >/dev/null || { echo "SKIPPED: the page was not opened: chromium is not on PATH" >&2; exit 0; }; \
	home=$$(mktemp -d); export PULSE_HOME=$$home; trap 'bin/pulse down; rm -rf $$home' EXIT; \
	bin/pulse up --detach; \
	set -a; . $$home/env; set +a; \
	$(GO) test -count 1 -tags integration,$(TAGS) -timeout 40m -v ./e2e/page

page-vendor: ## Fetch what the page vendors (uPlot, Inter) from npm, checked by digest.
	$(GO) test -count 1 ./functions/api/page -run Vendored -update

servers-test: build ## Replay the recording through real servers with functions killed; pyiceberg, Trino and Superset read it (needs Maven, Java 24, Python).
	$(GO) test -count 1 -tags integration,$(TAGS) -timeout 55m -v -run 'TestRealServers|TestPyiceberg' ./e2e

connect-test: build ## Archive Kafka by Connect with its worker killed twice, delete Kafka and the stores, put Kafka back, audit (needs Maven, Java 24). 5 min once its servers are built.
	$(GO) test -count 1 -tags integration,$(TAGS) -timeout 55m -v -run 'TestConnect' ./e2e

infra-test: ## Check Terraform's roots and examples by tflint and OpenTofu, without a cloud: lint, format, validity, tests (needs npm). 10 min of CPU the first time.
	cd infra/terraform/test && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) run $(STATICCHECK) ./... && GOWORK=off $(GO) mod tidy -diff
	@infra/terraform/test/test.sh

# func sees one directory: docs/adr/0009-staged-folders.md. FUNCTION=m7pulse is
# the all-in-one; all of the others unless one is named.
FUNCTION ?= $(FUNCTIONS)
FUNC_FLAGS := GOWORK=off GOFLAGS='-mod=mod -trimpath -tags=$(TAGS) "-ldflags=-s -w"'
KO := $(GO) run github.com/google/ko@v0.18.0

stage: ## Lay out each function for func, in .build/stage.
	@infra/func/stage.sh

STARTS ?= 10
stage-test: build stage ## Build what is staged with func's builder and ko, run it under 64 connections, time STARTS (10) cold starts of each function.
	cd infra/check && GOWORK=off $(GO) test -count 1 -tags stage,$(TAGS) -timeout 25m -v -run 'Func|Staged|Ko' . -starts $(STARTS)

deploy: stage ## Deploy with func to the current cluster: make deploy REGISTRY=ghcr.io/you [FUNCTION=…].
	@test -n "$(REGISTRY)" || { echo "make deploy REGISTRY=ghcr.io/you: where images go"; exit 2; }
	@for f in $(FUNCTION); do $(FUNC_FLAGS) func deploy --path .build/stage/$$f --builder host --registry $(REGISTRY) --namespace m7pulse; done

image: ## Build and push images without func: make image REGISTRY=ghcr.io/you TAG=v0.1.0. Their digests: .build/images.
	@test -n "$(REGISTRY)" || { echo "make image REGISTRY=ghcr.io/you TAG=v0.1.0: where images go"; exit 2; }
	@mkdir -p .build
	KO_DOCKER_REPO=$(REGISTRY) $(KO) build --base-import-paths --tags $(or $(TAG),dev) --image-refs .build/images ./cmd/pulse $(addprefix ./cmd/functions/,$(FUNCTIONS))
	KO_DOCKER_REPO=$(REGISTRY)/m7pulse $(KO) build --bare --tags $(or $(TAG),dev) --image-refs .build/image-all-in-one ./cmd/all-in-one
	@{ echo; cat .build/image-all-in-one; } >> .build/images && rm .build/image-all-in-one

GORELEASER := github.com/goreleaser/goreleaser/v2@v2.17.0
release: ## Publish the release of the tag that is checked out as a draft; .github/workflows/release.yaml runs it (docs/releases.md).
	GORELEASER_CURRENT_TAG=$$(git describe --exact-match --match 'v*') $(GO) run $(GORELEASER) release --clean

release-test: ## Make a release without publishing it, in .build/dist. 40 min of CPU the first time.
	$(GO) run $(GORELEASER) check
	$(GO) run $(GORELEASER) release --snapshot --clean

cluster-up: build ## Start a real Kubernetes node with a real Knative on this machine, and the functions on it (root, Linux; no Docker). 25 min of CPU the first time.
	@$(GO) build -o bin/ ./infra/cluster
	@bin/cluster up

cluster-down: ## Stop it; nothing but what was built is left.
	@$(GO) build -o bin/ ./infra/cluster
	@bin/cluster down

cluster-test: build ## Test the functions on that node: sweep, replay with pods killed and revisions replaced, from zero and back.
	@$(GO) build -o bin/ ./infra/cluster
	@bin/cluster up || { status=$$?; [ $$status = 4 ] && echo "SKIPPED: no cluster was started" >&2 && exit 0; exit $$status; }; \
	trap 'bin/cluster down' EXIT; \
	$(GO) test -count 1 -tags integration,$(TAGS) -timeout 90m -v ./infra/cluster

KAFKA ?= 127.0.0.1:9092
SPARK ?=
bench: build ## Measure bulk mode and bells (bench/RESULTS.md). KAFKA=host:port of a real Kafka; SPARK=a folder made by bench/spark/setup.sh.
	$(GO) run ./bench/drain -brokers $(KAFKA) $(if $(SPARK),-spark $(SPARK))
	$(GO) run ./bench/drain -brokers $(KAFKA) -records 1000000 -sinks
	$(GO) run ./bench/bells -brokers $(KAFKA)
	$(GO) test -run '^$$' -bench AThousandCommits -benchtime 1x ./functions/sink-iceberg/

bench-queries: build ## Measure the dashboards' queries over DAYS (36: 26 million rows) of hourly readings of 30,000 repositories.
	$(GO) run ./bench/queries -days $(or $(DAYS),36)

lint: ## Check formatting, vet, static analysis, tidiness, scripts and the types on macOS and arm64.
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet $(PACKAGES)
	$(GO) run $(STATICCHECK) $(PACKAGES)
	cd infra/check && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) run $(STATICCHECK) ./...
	@for m in $(MODULES) infra/check; do echo "tidy $$m"; (cd $$m && GOWORK=off $(GO) mod tidy -diff); done
	$(GO) run ./infra/typecheck darwin/arm64,linux/arm64 ./audit/... ./cmd/... ./deadletters/... ./forecast/... ./infra/... ./infra/local/github/... ./pipeline/... ./rebuild/... ./replay/... ./reprocess/... ./retention/... ./shared/...
	@if command -v shellcheck >/dev/null; then shellcheck $$(git ls-files '*.sh' .ci/run); else echo "SHELLCHECK IS NOT ON PATH: the shell scripts were NOT checked" >&2; fi
	@$(MAKE) --no-print-directory vuln

# Exit code 3 says that something was found. Without the network nothing can be
# said, and that is what is said.
vuln: ## Look for known vulnerabilities in the code that is called.
	@for m in $(MODULES); do \
	  out=$$(cd $$m && GOWORK=off $(GO) run $(GOVULNCHECK) ./... 2>&1) && status=0 || status=$$?; \
	  if [ $$status != 0 ] && grep -q 'fetching vulnerabilities: ' <<<"$$out"; then \
	    echo "$$out" >&2; echo "NOT CHECKED FOR KNOWN VULNERABILITIES: the database is out of reach." >&2; exit 0; fi; \
	  if [ $$status != 0 ]; then echo "$$out"; exit 1; fi; \
	  echo "vulnerabilities $$m: none known"; done

sbom: build ## Write a bill of materials (CycloneDX) and the licences of each program to bin/sbom.
	@$(GO) run ./infra/sbom bin/sbom bin/pulse $(addprefix bin/,$(FUNCTIONS))

clean: ## Remove what was built; stacks and their data stay.
	rm -rf bin .build
