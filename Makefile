# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

PYTHON ?= python3
VENV := .venv
RUN := $(CURDIR)/$(VENV)/bin/python

# Images are nobody's business: neither MLflow nor anything else reports its use.
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= true
# Threads spin for a moment only while they wait. Long spinning costs a quarter of the speed beside other programs, and none
# at all (OMP_WAIT_POLICY=PASSIVE) more than a third on a machine that is idle.
export GOMP_SPINCOUNT ?= 1000
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

DEMO := $(CURDIR)/demo
# Its weights stay apart from those that the bundle ships in bundle/models.
DEMO_ARGS := --dataset_dir $(DEMO)/data --output_dir $(DEMO)/output --model_dir $(DEMO)/output/models

.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help venv demo weights json methods ablation experiment experiment-classification experiment-controlled benchmark export-speed speed costs scaling gpu label test test-slow test-all mutations lint format types clean clean-demo always

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-26s %s\n", $$1, $$2}' Makefile

venv: $(VENV)/.installed-dev ## Set up .venv with everything that development needs

demo: demo/.trained ## Train on the demo data, then evaluate on its held-out patients
	cd bundle && $(RUN) -m monai.bundle run evaluating \
		--config_file "['configs/train.yaml','configs/evaluate.yaml']" $(DEMO_ARGS)

test: $(VENV)/.installed-test ## Run the fast tests
	$(RUN) -m pytest

test-slow: $(VENV)/.installed-test ## Run the tests that take minutes or run other programs
	$(RUN) -m pytest -m "slow or integration"

test-all: $(VENV)/.installed-test ## Run every test
	$(RUN) -m pytest -m ""

mutations: $(VENV)/.installed-test ## Change the code in fifty places, one at a time, and see whether a fast test fails (ten minutes)
	$(RUN) tests/mutations.py

lint: $(VENV)/.installed-dev ## Check style and format
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

format: $(VENV)/.installed-dev ## Mend style and format where a program can
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

types: $(VENV)/.installed-dev ## Check the types
	$(RUN) -m mypy

weights: $(VENV)/.installed-test ## Make what follows from the weights in bundle/models anew: models/model.ts
	cd bundle && $(RUN) -m monai.bundle ckpt_export network_def --filepath models/model.ts --ckpt_file models/model.pt \
		--meta_file configs/metadata.json --config_file configs/inference.yaml

# monai.bundle.load knows JSON alone.
json: $(VENV)/.installed-test ## Write configs/train.json and inference.json, the YAML files once more, anew
	cd bundle/configs && for name in train inference; do $(RUN) -c "from monai.bundle import ConfigParser as parser; \
		parser.export_config_file(parser.load_config_file('$$name.yaml'), '$$name.json', indent=2)" || exit 1; done

# ARGS="--others '{\"CycleGAN\": \"/path/to/results\"}'" adds the results of other programs.
methods: demo/data/datalist.json $(VENV)/.installed-speed ## Compare the supplied network with N4 and non-local means on the demo's test patients (minutes)
	cd bundle && $(RUN) -m monai.bundle run comparing --config_file "['configs/train.yaml','configs/methods.yaml']" \
		--dataset_dir $(DEMO)/data --model_dir models --report_dir $(DEMO)/methods --mlflow False $(ARGS)

# ARGS are options, or settings of train.yaml: ARGS="--seeds 0 --variants 'without-style without-wavelet' --epochs 6".
ablation: demo/data/datalist.json ## Switch the parts of the method off, one at a time, and say what each brings (four hours)
	cd bundle && $(RUN) -m scripts.experiments.ablation --data $(DEMO)/data --output $(DEMO)/ablation $(ARGS)

# The trainings of an experiment have one thread each; so many run at a time. ARGS are settings of train.yaml, COMPARE_ARGS
# of downstream.yaml; write apostrophes in them as usual. OVERLAY is a further configuration, such as configs/dynunet.yaml.
EXPERIMENT_JOBS ?= 2
SEEDS ?= 0 1 2
ARMS ?= separate first_order finite_difference unrolled
export ARGS COMPARE_ARGS
EXPERIMENT = cd bundle && $(RUN) -m scripts.experiments.runner --jobs $(EXPERIMENT_JOBS) --seeds "$(SEEDS)" \
	--settings="$$ARGS"

experiment: demo/data/datalist.json demo/costs/costs.md ## Compare separate and bi-level training by what a downstream network gains (hours)
	$(EXPERIMENT) --arms "$(ARMS)" --data $(DEMO)/data --output $(DEMO)/experiment $(OVERLAY:%=--overlay %) \
		--compare_settings="--costs_dir $(DEMO)/costs $$COMPARE_ARGS"

experiment-classification: demo/lesions/datalist.json ## The same for classification: is there a lesion in this slice?
	$(EXPERIMENT) --arms "$(if $(filter file,$(origin ARMS)),separate first_order,$(ARMS))" --data $(DEMO)/lesions \
		--output $(DEMO)/experiment-classification --overlay configs/classification.yaml --compare_settings="$$COMPARE_ARGS"

# INPUT may name other images, and ARGS further settings.
INPUT ?= --datalist $(DEMO)/data/datalist.json
benchmark: demo/data/datalist.json ## Enhance the demo's test patients with the supplied network, and say how fast that goes
	cd bundle && $(RUN) -m monai.bundle run enhancing --config_file configs/inference.yaml $(INPUT) \
		--output_dir $(DEMO)/enhanced $(ARGS)

speed: $(VENV)/.installed-speed ## Measure speed and memory against CycleGAN, N4 and the machine, on an idle machine (twenty minutes); ARGS='--quick True'
	cd bundle && $(RUN) -m scripts.experiments.speed --output_dir $(DEMO)/speed $(ARGS)

export-speed: demo/data/datalist.json ## Compare PyTorch, TorchScript and ONNX Runtime in speed
	cd bundle && OMP_NUM_THREADS=1 $(RUN) -m scripts.experiments.export_speed --input_dir $(DEMO)/data/test/lq

costs: ## Measure what a training step of each hypergradient costs; nothing else should run meanwhile
	rm -f demo/costs/costs.md
	$(MAKE) demo/costs/costs.md

demo/costs/costs.md: bundle/configs/train.yaml bundle/configs/costs.yaml | demo/data/datalist.json
	cd bundle && for mode in enhancement none first_order finite_difference unrolled implicit; do \
		if [ $$mode = enhancement ]; then mode="--task none"; else mode="--hypergradient $$mode"; fi; \
		$(RUN) -m monai.bundle run measuring --config_file "['configs/train.yaml','configs/costs.yaml']" \
			--dataset_dir $(DEMO)/data --output_dir $(DEMO)/costs $$mode || exit 1; \
	done
	cd bundle && $(RUN) -m scripts.experiments.costs --input_dir $(DEMO)/costs

scaling: demo/data/datalist.json ## Measure what a second process gains in training and inference; nothing else should run meanwhile
	cd bundle && $(RUN) -m scripts.experiments.scaling --dataset_dir $(DEMO)/data --output_dir $(DEMO)/scaling $(ARGS)

gpu: | $(VENV)/.installed-train ## Measure training, inference and memory on a GPU, and what limits them (five minutes)
	cd bundle && $(RUN) -m scripts.experiments.gpu_speed --output_dir $(DEMO)/gpu $(ARGS)

# On your own clean labelled images: a third is degraded, a third stays clean, a third is held out.
CONTROLLED ?= $(DEMO)/controlled
override CONTROLLED := $(abspath $(CONTROLLED))
experiment-controlled: $(CONTROLLED)/data/datalist.json ## The same on your own clean labelled images: IMAGES=dir LABELS=dir
	$(EXPERIMENT) --arms "$(ARMS)" --data $(CONTROLLED)/data --output $(CONTROLLED) $(OVERLAY:%=--overlay %) \
		--compare_settings="$$COMPARE_ARGS"

# The sources of the data, which are made anew when they have changed.
$(CONTROLLED)/source.txt: always
	@mkdir -p $(@D)
	@echo '$(abspath $(IMAGES)) $(abspath $(LABELS)) $(DEGRADATION)' > $@.now
	@if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

$(CONTROLLED)/data/datalist.json: $(if $(IMAGES),$(CONTROLLED)/source.txt) | $(VENV)/.installed-demo
	@test -n "$(IMAGES)" -a -n "$(LABELS)" || { echo "Say where they are: IMAGES=/path LABELS=/path" >&2; exit 1; }
	cd bundle && $(RUN) -m scripts.experiments.controlled --image_dir $(abspath $(IMAGES)) --label_dir $(abspath $(LABELS)) \
		--output_dir $(CONTROLLED)/data $(DEGRADATION)

# MONAI Label has an environment of its own; the bundle that it asks stays in .venv.
LABEL_VENV := .venv-label
LABEL_PYTHON ?= $(PYTHON)
LABEL_PORT ?= 8000
label: $(LABEL_VENV)/.installed $(VENV)/.installed-train ## Serve the images in STUDIES=dir (or a DICOMweb address) with MONAI Label
	@test -n "$(STUDIES)" || { echo "Say which images: STUDIES=/path, or STUDIES=http://127.0.0.1:8042/dicom-web" >&2; exit 1; }
	PATH="$(CURDIR)/$(LABEL_VENV)/bin:$$PATH" $(LABEL_VENV)/bin/python -m monailabel.main start_server \
		--app label_app --studies $(STUDIES) --host 127.0.0.1 --port $(LABEL_PORT) \
		$(if $(HQ),--conf hq_dir $(abspath $(HQ))) $(if $(HQ_LABELS),--conf hq_labels_dir $(abspath $(HQ_LABELS))) $(ARGS)

# torch brings what its build for a graphics card needs. Else the list is complete: --no-deps keeps out sam2, which pip would
# build beside the newest torch.
$(LABEL_VENV)/.installed: label_app/requirements.txt
	@$(LABEL_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "MONAI Label's environment is pinned for Python 3.11: name it with 'make LABEL_PYTHON=/path/to/python3.11'." >&2; \
		exit 1; }
	$(LABEL_PYTHON) -m venv $(LABEL_VENV)
	$(LABEL_VENV)/bin/python -m pip install --quiet --constraint label_app/requirements.txt torch
	$(LABEL_VENV)/bin/python -m pip install --quiet --no-deps --requirement label_app/requirements.txt
	touch $@

clean: ## Remove the environments and the caches; the demo stays
	rm -rf $(VENV) $(LABEL_VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache
	find bundle tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-demo: ## Remove the demo's data and results
	rm -rf demo

demo/data/datalist.json: | $(VENV)/.installed-demo
	cd bundle && $(RUN) -m scripts.experiments.demo --output_dir $(DEMO)/data

demo/lesions/datalist.json: | $(VENV)/.installed-demo
	cd bundle && $(RUN) -m scripts.experiments.demo --output_dir $(DEMO)/lesions --task classification

# The stamp, not the weights: a training that was interrupted leaves weights behind.
demo/.trained: demo/data/datalist.json | $(VENV)/.installed-demo
	cd bundle && $(RUN) -m monai.bundle run training --config_file configs/train.yaml $(DEMO_ARGS) --overwrite True
	touch $@

# Each set holds the one before it: demo, test, dev. The constraints keep it to the tested versions.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

$(VENV)/bin/pip:
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) is missing: install Python 3.10 to 3.13 (Debian: apt install python3 python3-venv)," \
			"or name another with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "$$($(PYTHON) --version) is not one of 3.10 to 3.13:" \
			"name another with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install what is missing" \
			"(Debian: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
