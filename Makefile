# Every target says what it is doing and can be run again after an interruption.
# Heavy things (tools, images, clusters' state) live in KUBETUNE_CACHE, outside the checkout, keyed by version.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export KUBETUNE_CACHE ?= $(HOME)/.cache/kubetune

PYTHON3 ?= python3
VENV := $(KUBETUNE_CACHE)/venv/$(shell sha256sum requirements-dev.txt | cut -c1-12)-$(shell $(PYTHON3) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PY := $(VENV)/bin/python
export PATH := $(KUBETUNE_CACHE)/bin:$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/operator:$(CURDIR)/images/contract:$(CURDIR)/images/shared
N ?= 1000
ROUNDS ?= 3
RUNS ?= 4000
# The cluster of `make demo`, cluster-up and cluster-down.
NAME ?= demo

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: venv ## From nothing to an answering, measurably better model (uses the cluster KUBECONFIG names, else brings one up)
	$(PY) -m tests.demo $(DEMO_ARGS)

.PHONY: test
test: venv ## Everything: check, then the integration, image and end-to-end suites
	$(PY) -m tests.run all

.PHONY: check
check: venv tools ## Format, lint, types, generated files, unit, golden, contract and chart tests (two minutes)
	$(PY) -m tests.run check

.PHONY: test-integration
test-integration: venv tools ## The operator against a real API server
	$(PY) -m tests.run integration

.PHONY: test-images
test-images: venv tools ## The images' own code inside the images: real training, evaluation and serving of tiny models
	$(PY) -m tests.run images

.PHONY: test-e2e
test-e2e: venv tools ## Train, evaluate, gate and serve on a full node
	$(PY) -m tests.run e2e

.PHONY: test-docs
test-docs: venv tools ## Every command of README and docs, run or its reason printed; the first model as a script on a node
	$(PY) -m tests.run docs

.PHONY: test-operator
test-operator: venv tools ## What is promised of the operator: a line for each law and for each fault that was found
	$(PY) -m tests.run operator

.PHONY: test-training
test-training: venv tools ## Everything that is promised about training, at length: a line for each point
	$(PY) -m tests.run training

.PHONY: test-intake
test-intake: venv tools ## What becomes of every family of models, and of bases and rows as people have them: a line each
	$(PY) -m tests.run intake

.PHONY: images
images: venv ## Build the images this machine needs
	$(PYTHON3) -m tests.cluster packages --only images
	$(PYTHON3) -m images.build build

.PHONY: cluster-up
cluster-up: venv tools ## Bring up a single-node cluster (root on Linux) with the images loaded
	$(PYTHON3) -m tests.cluster up --name $(NAME)
	$(PYTHON3) -m images.build import --ctr \
	  "$(PYTHON3) -m tests.cluster exec --name $(NAME) -- ctr --address /run/containerd/containerd.sock --namespace k8s.io"
	@echo 'Next: eval $$(python3 -m tests.cluster env --name $(NAME))'

.PHONY: cluster-down
cluster-down: ## Stop it and leave nothing behind
	$(PYTHON3) -m tests.cluster down --name $(NAME)

.PHONY: bench-reconcile
bench-reconcile: venv tools ## Operator throughput beside a bare client, N=1000; or what RUNNING=200,1000 of them cost while they run
	$(PY) -m tests.bench.reconcile $(if $(RUNNING),--running $(RUNNING),--count $(N))

.PHONY: bench-training
bench-training: venv tools ## The trainer beside transformers.Trainer and TRL, ROUNDS=3
	$(PY) -m tests.bench.training --rounds $(ROUNDS)

.PHONY: bench-gate
bench-gate: venv ## How often the gate errs and what it finds, by kind of data and number of items, RUNS=4000
	PYTHONPATH=$(PYTHONPATH):$(CURDIR)/images/evaluator $(PY) -m tests.bench.gate --runs $(RUNS)

.PHONY: generate
generate: venv ## Write the CRDs, the API reference and the page of models from their sources
	$(PY) -m tests.run generate

.PHONY: format
format: venv ## Format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.PHONY: lock
lock: venv ## Lock the development requirements again, with hashes
	$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --override requirements-dev.overrides \
	  --custom-compile-command "make lock" --group dev pyproject.toml -o requirements-dev.txt

.PHONY: venv
venv: $(VENV)/.ready

# Its name holds the digest of requirements-dev.txt, so nothing else can make it out of date.
$(VENV)/.ready:
	@echo "Installing the development tools into $(VENV)"
	@$(PYTHON3) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version) if sys.version_info < (3, 11) else None'
	@$(PYTHON3) -c 'import ensurepip' 2>/dev/null || $(PYTHON3) -m tests.cluster packages --only venv
	@$(PYTHON3) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

.PHONY: tools
tools:
	@$(PYTHON3) -m tests.cluster build
