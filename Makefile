# Everything runs from .venv, which the first target that needs it makes. `make` alone lists targets.

# A preset's name or file; a checkpoint instead of its own weights; the inference port, which the
# ports for management and metrics follow; what serves it, torchserve or ray; 1 for the head of a Ray
# cluster, or its address to join it, and the most replicas on it; 1 for HTTPS and a token, on the
# network; the origins whose pages may send requests, between commas, or *; a photo; a folder of
# labelled photos; the Python that makes .venv.
DEFAULT_MODEL = street-resnet18
MODEL ?=
WEIGHTS ?=
PORT ?= 8080
ENGINE ?= torchserve
HEAD ?=
JOIN ?=
REPLICAS ?=
GATEWAY ?=
CORS_ORIGINS ?=
IMAGE ?=
DATA ?=
PYTHON ?= python3

# What was built last: the model in the first line, the weights in the second.
last = $(shell sed -n $(1)p build/built-of 2>/dev/null)
LAST_MODEL := $(call last,1)
LAST_WEIGHTS := $(call last,2)

# What is to be built: what was built last, unless given; but weights belong to their model.
ARCHIVE_MODEL := $(or $(MODEL),$(LAST_MODEL),$(DEFAULT_MODEL))
ARCHIVE_WEIGHTS := $(or $(WEIGHTS),$(if $(MODEL),,$(LAST_WEIGHTS)))

ifneq ($(filter-out 1,$(GATEWAY)),)
$(error GATEWAY=$(GATEWAY) means nothing: give GATEWAY=1 for HTTPS and a token, or leave it out)
endif
GATEWAY_OPTION = $(if $(GATEWAY),--gateway)

ifeq ($(filter torchserve ray,$(ENGINE)),)
$(error ENGINE=$(ENGINE) means nothing: give ENGINE=torchserve or ENGINE=ray)
endif

ifneq ($(and $(REPLICAS),$(filter torchserve,$(ENGINE))),)
$(error REPLICAS=$(REPLICAS) is for a Ray cluster: ENGINE=ray)
endif

# What the engine needs beside TorchServe's requirements.
ENGINE_READY = .venv/runtime $(if $(filter ray,$(ENGINE)),.venv/ray)
ENGINE_OPTION = $(if $(filter ray,$(ENGINE)),--engine ray)

# Recipes read them from the environment, where no character in them means anything to the shell.
export MODEL WEIGHTS ARCHIVE_MODEL ARCHIVE_WEIGHTS PORT HEAD JOIN REPLICAS CORS_ORIGINS IMAGE DATA PYTHON

PY = .venv/bin/python

# A link to the archive that was built last, build/<model>.mar.
ARCHIVE = build/segmenter.mar

# An instance keeps the archive that it serves. It starts with a new one if that is its first, or
# if MODEL or WEIGHTS is given.
KEPT_ARCHIVE := $(wildcard build/service-$(PORT)/archive.mar)
NEW_ARCHIVE := $(if $(MODEL)$(WEIGHTS),$(ARCHIVE),$(if $(KEPT_ARCHIVE),,$(ARCHIVE)))
NEW_ARCHIVE_OPTION = $(if $(NEW_ARCHIVE),--archive $(NEW_ARCHIVE))

.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@echo 'make <target> [MODEL=preset] [WEIGHTS=checkpoint] [PORT=8080] [ENGINE=ray] [GATEWAY=1] [CORS_ORIGINS=origins]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(ARCHIVE) ## segment a photo with a service started for it: make demo IMAGE=photo.jpg
	@$(PY) -m scripts.demo --port "$$PORT" $${IMAGE:+"$$IMAGE"}

.PHONY: start
start: $(NEW_ARCHIVE) $(ENGINE_READY) ## start the service in the background; returns when it is ready
	@$(PY) -m scripts.service start $(ENGINE_OPTION) --port "$$PORT" $(NEW_ARCHIVE_OPTION) $(GATEWAY_OPTION) \
		$${CORS_ORIGINS:+--cors-origins "$$CORS_ORIGINS"}

.PHONY: stop
stop: .venv/runtime ## stop the service that was started in the background
	@$(PY) -m scripts.service stop --port "$$PORT"

# In the shell's place, so that a SIGTERM that make passes on reaches it.
.PHONY: serve
serve: $(NEW_ARCHIVE) $(ENGINE_READY) ## run the service until Ctrl-C
	@exec $(PY) -m scripts.service run $(ENGINE_OPTION) --port "$$PORT" $(NEW_ARCHIVE_OPTION) $(GATEWAY_OPTION) \
		$${CORS_ORIGINS:+--cors-origins "$$CORS_ORIGINS"}

.PHONY: archive
archive: $(ARCHIVE) ## build the archive that TorchServe serves, build/<model>.mar

# Without what an earlier build left in client/build, which would be packed again.
.PHONY: client
client: .venv/runtime ## build the client's wheel in build/client
	@rm -rf client/build build/client
	@$(PY) -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir build/client ./client
	@ls build/client/*.whl

.PHONY: deploy
deploy: $(ARCHIVE) $(ENGINE_READY) ## build the archive and have the service on PORT serve it from now on
	@$(if $(REPLICAS),$(TO_CLUSTER),$(TO_INSTANCE)) --port "$$PORT" --archive $(ARCHIVE)

TO_INSTANCE = $(PY) -m scripts.service deploy $(ENGINE_OPTION)
TO_CLUSTER = $(PY) -m scripts.node deploy --replicas "$$REPLICAS"

.PHONY: node
node: .venv/runtime .venv/ray ## be a node of a Ray cluster until Ctrl-C: make node HEAD=1, or make node JOIN=host
	@test -n "$$HEAD$$JOIN" || { echo 'error: make node HEAD=1, or make node JOIN=<head>' >&2; exit 1; }
	@exec $(PY) -m scripts.node $${JOIN:+join "$$JOIN"} $${HEAD:+head}

# BASE, TORCH_INDEX and TAG: docs/containers.md. The health check needs docker's format, podman's default is
# another.
CONTAINERS = $(shell command -v podman || echo docker)

.PHONY: image
image: $(ARCHIVE) ## build the container image: make image [BASE=...] [TORCH_INDEX=...] [TAG=segmenter]
	@BUILDAH_FORMAT=docker $(CONTAINERS) build --file deploy/container/Containerfile --tag "$${TAG:-segmenter}" \
		--build-arg "ARCHIVE=build/$$(readlink $(ARCHIVE))" $(if $(filter ray,$(ENGINE)),--build-arg REQUIREMENTS=requirements-ray.txt) \
		$${BASE:+--build-arg "BASE=$$BASE"} $${TORCH_INDEX+--build-arg "TORCH_INDEX=$$TORCH_INDEX"} .

.PHONY: test
test: .venv/dev ## run all tests
	@$(PY) -m pytest

# Two processes of one thread each: these tests are mostly Python.
.PHONY: test-fast
test-fast: .venv/dev ## run the tests that need no TorchServe, nginx or browser, and are quick
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m 'not service and not slow'

.PHONY: lint
lint: .venv/dev ## check style, format, types, and who imports whom
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

.PHONY: fuzz
fuzz: .venv/dev $(ARCHIVE) ## send hostile requests to a service started for it: make fuzz N=10000
	@$(PY) -m scripts.fuzz $${N:-10000} $(GATEWAY_OPTION)

.PHONY: soak
soak: .venv/dev $(ARCHIVE) ## saturate a service started for it: make soak MINUTES=30 PHOTOS=folder
	@$(PY) -m scripts.soak --minutes "$${MINUTES:-30}" $${PHOTOS:+--photos "$$PHOTOS"}

.PHONY: bench
bench: .venv/dev ## time the service against the plain ways of doing the same
	@$(PY) -m scripts.benchmark $${IMAGE:+--photo "$$IMAGE"}

.PHONY: train
train: .venv/dev ## train a model: make train DATA=folder [STEPS=4000] [INIT=voc-resnet50] [RESUME=1] [OUT=build/train]
	@$(NEED_DATA)
	@$(PY) -m scripts.train --preset "$${MODEL:-$(DEFAULT_MODEL)}" --data "$$DATA" \
		--output "$${OUT:-build/train}" $${STEPS:+--steps "$$STEPS"} $${INIT:+--init "$$INIT"} \
		$${RESUME:+--resume}

.PHONY: eval
eval: .venv/dev ## measure a model: make eval DATA=folder, with images/ and masks/ in it
	@$(NEED_DATA)
	@$(PY) -m scripts.evaluate --preset "$${MODEL:-$(DEFAULT_MODEL)}" --data "$$DATA" \
		$${WEIGHTS:+--weights "$$WEIGHTS"}

# Of what was built last, like `archive`, which follows. VAL=folder measures on other photos;
# MAX_DROP is in points of mean IoU.
.PHONY: quantize
quantize: .venv/dev ## calibrate a model for int8 on photos: make quantize DATA=folder
	@$(NEED_DATA)
	@$(PY) -m scripts.quantize --preset "$$ARCHIVE_MODEL" --data "$$DATA" \
		$${ARCHIVE_WEIGHTS:+--weights "$$ARCHIVE_WEIGHTS"} $${VAL:+--measure "$$VAL"} \
		$${MAX_DROP:+--max-drop "$$MAX_DROP"} --report build/report.json
	@$(MAKE) --no-print-directory --what-if=handler.py archive

NEED_DATA = test -n "$$DATA" || { echo 'error: name the folder of photos and masks: DATA=...' >&2; exit 1; }

space := $(subst ,, )
escaped = $(subst $(space),\ ,$(1))
existing = $(if $(wildcard $(call escaped,$(1))),$(call escaped,$(1)))

# FORCE if the archive is of another model or other weights.
ifneq ($(ARCHIVE_MODEL)|$(ARCHIVE_WEIGHTS),$(LAST_MODEL)|$(LAST_WEIGHTS))
CHANGED = FORCE
endif

PACKED = handler.py model-config.yaml \
         $(wildcard $(foreach package,imaging model serving,$(package)/*.py $(package)/*/*.* $(package)/*/*/*.*))
BUILDER = pyproject.toml $(wildcard scripts/archive/*.py)

$(ARCHIVE): $(CHANGED) .venv/runtime $(filter-out %.pyc,$(PACKED)) $(BUILDER) \
            $(call existing,$(ARCHIVE_MODEL)) $(call existing,$(ARCHIVE_WEIGHTS))
	@$(PY) -m scripts.build_archive --preset "$$ARCHIVE_MODEL" \
		$${ARCHIVE_WEIGHTS:+--weights "$$ARCHIVE_WEIGHTS"}
	@printf '%s\n' "$$ARCHIVE_MODEL" "$$ARCHIVE_WEIGHTS" > build/built-of

.PHONY: FORCE
FORCE:

# .venv/runtime, .venv/ray and .venv/dev say which requirements are installed. FORCE where there is no
# Python, or none any more.
.venv/runtime: requirements.txt client/pyproject.toml $(shell test -x .venv/bin/python || echo FORCE)
	@sh scripts/venv.sh $<
	@touch $@

.venv/ray: requirements-ray.txt .venv/runtime
	@sh scripts/venv.sh $<
	@touch $@

.venv/dev: requirements-dev.txt requirements-ray.txt .venv/runtime
	@sh scripts/venv.sh $<
	@touch $@
