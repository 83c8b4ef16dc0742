# make demo   the whole suite on a test image, recorded and summarised in out/demo/   (SOURCE=video, image, camera ...)
#             VIEW=1 shows it in a browser
# make test   the tests
# Each with ROS_DISTRO=jazzy for ROS 2 Jazzy. See README.md for the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

SOURCE ?= astronaut
DATA ?= $(or $(FER_DATA),../shared/data)
ENV = . scripts/env.sh &&
PYTEST = $(ENV) FER_DATA="$(abspath $(DATA))" python -m pytest

.PHONY: help setup setup-view setup-replay setup-training setup-dev demo test test-slow lint docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## virtual environment, ROS 2, face model, colcon build
	@scripts/setup.sh runtime

setup-view: ## the same with what the view in a browser needs
	@scripts/setup.sh view

setup-replay: ## the same with what replay needs
	@scripts/setup.sh replay

setup-training: ## the same with what training needs (torch)
	@scripts/setup.sh training

setup-dev: ## the same with what the tests need
	@scripts/setup.sh dev

demo: $(if $(VIEW),setup-view,setup) ## run source, pipeline and overlay; SOURCE=astronaut, a video, image, folder or camera index; VIEW=1
	@$(ENV) python -m fer_perception demo --source "$(SOURCE)" --out out/demo $(if $(VIEW),--view) $(DEMO_ARGUMENTS)

test: setup-dev ## unit tests and tests on a live graph; PYTEST_ARGUMENTS="-k name"
	@$(PYTEST) $(PYTEST_ARGUMENTS)

test-slow: setup-dev ## the tests marked slow: trainings to the end, restarts, thousands of messages
	@$(PYTEST) -m slow $(PYTEST_ARGUMENTS)

lint: setup-dev ## ruff, mypy and the rules of who may import whom
	@$(ENV) ruff check . && ruff format --check . && mypy && lint-imports

docs: setup-dev ## the documentation as a site in out/docs
	@$(ENV) mkdocs build

clean: ## remove what was built; virtual environments stay
	rm -rf build build-* install install-* log log-*
