# Two commands are all a fresh clone needs: make repro, make test.
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
PYTHON ?= python3
export PATH := $(BIN):$(PATH)

.PHONY: help repro test lint ui clean versioned
.NOTPARALLEL: # `versioned` comes before the packages, with -j too
help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10
	@echo "VENV=path reuses another environment (torch alone weighs 5 GB)."

# DVC needs a git repository; a zip download is none. Said before gigabytes of packages are installed.
versioned:
	@grep -Eqs '^[[:space:]]*no_scm *= *true' .dvc/config .dvc/config.local || git rev-parse --git-dir >/dev/null 2>&1 || { \
		echo "no git repository here; run \`git init\` (or write no_scm = true under [core] in .dvc/config)" >&2; exit 1; }

# The environment is made once, and again when the pins change.
$(VENV)/.leafsynth: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

repro: versioned $(VENV)/.leafsynth ## run the pipeline (dvc repro) and print the comparison
	@python -m stages.check_params --dry-run >/dev/null # DVC's own words on broken YAML help nobody
	dvc repro
	@leafsynth show

test: versioned $(VENV)/.leafsynth ## run the whole test suite
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadscope # one thread a worker: more wait for each other

lint: $(VENV)/.leafsynth ## ruff
	ruff check . && ruff format --check .

ui: $(VENV)/.leafsynth ## the MLflow UI on this machine's port 5000
	MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1

clean: ## remove what the pipeline made (not data/raw, not the environment)
	rm -rf data/sample data/split data/arrays data/synthetic data/augmented data/filtered data/augmented_filtered models/extractor/joint models/gan/joint models/gan/class models/minority results/[!m]* results/metrics results/minority/[0-9]* .state
