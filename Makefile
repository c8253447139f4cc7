# `make demo`, `make lab` and `make test` set up what they need on a fresh Debian or Ubuntu machine, and are quick when it is there.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
PYTEST ?= -n 2 --dist loadfile
BIN := .venv/bin
MODULES := js/node_modules/.package-lock.json

MACHINE := $(shell uname -m)
QEMU_PACKAGE_aarch64 := qemu-system-arm
QEMU_PACKAGE_x86_64 := qemu-system-x86

# program or file : the Debian package that has it
VM_TOOLS := qemu-system-$(MACHINE):$(QEMU_PACKAGE_$(MACHINE)) qemu-img:qemu-utils mmdebstrap:mmdebstrap mke2fs:e2fsprogs \
            newuidmap:uidmap curl:curl fakeroot:fakeroot fakechroot:fakechroot gpg:gpg \
            /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
TEST_TOOLS := $(VM_TOOLS) sshd:openssh-server ssh:openssh-client rsync:rsync chromium:chromium npm:npm \
              bwrap:bubblewrap

.PHONY: demo lab test check docs walkthroughs bench image golden widgets system-vm system-test clean

demo: system-vm $(BIN)/.ready-lab image  ## the first walkthrough, on real VMs, in this terminal
	$(BIN)/pi-v-jupyter demo

lab: system-vm $(BIN)/.ready-lab image  ## JupyterLab, in the folder of the walkthroughs; its terminals find pi-v-jupyter
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

test: system-test $(BIN)/.ready-dev $(MODULES) image golden check  ## everything that must hold
	$(BIN)/pytest $(PYTEST)

check: $(BIN)/.ready-dev  ## format, lint, types, import laws, the reference
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.reference --check

docs: $(BIN)/.ready-dev  ## docs/reference, from the code
	$(BIN)/python -m tools.reference

walkthroughs: system-vm $(BIN)/.ready-lab image golden  ## run them and save what they show; NOTEBOOKS="FILE FILE" picks some
	$(BIN)/python -m tools.walkthroughs $(NOTEBOOKS)

bench: system-test $(BIN)/.ready-dev image golden  ## the figures; BENCH=key,key picks rows
	$(BIN)/python tests/bench/run.py

widgets: $(MODULES)  ## what views/ shows in a browser, from js/; the result is committed
	cd js && npm run build

image: $(BIN)/.ready-lab
	$(BIN)/pi-v-jupyter image build

golden: system-vm $(BIN)/.ready-lab  ## the image that agents start from
	$(BIN)/pi-v-jupyter image build --golden

$(MODULES): js/package-lock.json
	cd js && npm ci --no-fund --no-audit
	touch $@

clean:
	rm -rf .venv js/node_modules demo-output bench.json .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed.")'
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Install it with:  apt-get install python3-venv" >&2; exit 1; }

$(BIN)/.ready-lab: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[local,lab]'
	touch $@

$(BIN)/.ready-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@ $(BIN)/.ready-lab

system-vm: TOOLS = $(VM_TOOLS)
system-test: TOOLS = $(TEST_TOOLS)
system-vm system-test:
	@export PATH="$$PATH:/usr/sbin:/sbin"; missing=(); \
	for tool in $(TOOLS); do command -v "$${tool%%:*}" >/dev/null || [ -e "$${tool%%:*}" ] || missing+=("$${tool##*:}"); done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv); \
	[ $${#missing[@]} -gt 0 ] || exit 0; \
	line="apt-get install -y --no-install-recommends $${missing[*]}"; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo=sudo; \
	else echo "These are needed first:  sudo $$line" >&2; exit 1; fi; \
	$$sudo apt-get update -qq; DEBIAN_FRONTEND=noninteractive $$sudo $$line
