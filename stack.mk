# The stack: included by the Makefile. docs/stack.md tells what each is for.
.PHONY: secrets rotate backup restore certs lock

secrets:  ## passwords and access control list of the stack, into secrets/; once, and after a change in mosquitto/users.toml; AGENTS="bench1:psu1,psu2 bench2:psu3" for more agents
	@python3 scripts/make_secrets.py $${AGENTS:+--agents $$AGENTS}
	@[ -e secrets/mosquitto/tls/server.crt ] || scripts/make_certs.sh
	@python3 scripts/mounts.py

rotate:  ## a new password or token in the place of one, and the services told: NAME=telegraf; without a NAME it lists them
	@python3 scripts/rotate.py $${NAME:+"$$NAME"}

backup:  ## all that the stack keeps, secrets included, into backups/, or into TO=FILE or TO=FOLDER
	@python3 scripts/backup.py save $${TO:+"$$TO"}

restore:  ## FROM=FILE back into an installation that has nothing yet; OVERWRITE=yes: into any
	@python3 scripts/backup.py restore $${FROM:+"$$FROM"} $(if $(filter yes,$(OVERWRITE)),--overwrite)
	@python3 scripts/mounts.py

certs:  ## the stack's own certificate authority and the broker's certificate; NAMES="broker.lab 10.0.0.5" for more names
	@scripts/make_certs.sh

.PHONY: test-stack

# The folders are named because collecting all of tests/ takes half a minute in each worker. The alerts come first: they wait
# nine minutes, in which the other worker does the rest.
STACK_TESTS = stack/alerts containers stack/dashboards stack/operating stack/pictures stack/test_agent.py stack/test_image.py stack/test_telegraf.py

test-stack: $(call STAMP,dev)  ## the tests of the stack that take minutes: its containers under Podman, its alerts on real faults
	@PSU_AGENT_STACK=1 $(BIN)/python -m pytest -q -m stack -n 2 --dist loadscope --no-loadscope-reorder $(addprefix tests/,$(STACK_TESTS))

lock: $(VENV)/bin/python  ## renew the locked dependencies of the container image
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra modbus --extra metrics --upgrade pyproject.toml -o docker/requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --upgrade docker/build-requirements.in -o docker/build-requirements.lock

.PHONY: brokers cluster

brokers: $(call STAMP,dev)  ## brokers of all kinds are got, run, measured and tried; writes docs/brokers.md: NAMES="nats mochi"
	@$(BIN)/python -m tests.brokers $(NAMES)

cluster: $(call STAMP,dev)  ## three NATS nodes lose one under load, again and again: ROUNDS=10 UNITS=5 RATE=10
	@$(BIN)/python -m tests.brokers.cluster $(or $(ROUNDS),10) $(or $(UNITS),5) $(or $(RATE),10)
