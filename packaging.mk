# What is given to users: included by the Makefile. docs/install.md tells how each is installed.
.PHONY: version dist deb package-test addon

version: $(call STAMP,dev)  ## the version that is built from this tree
	@$(BIN)/python -m hatchling version

dist: $(call STAMP,dev)  ## wheel and source distribution into dist/, checked as an index would: on a tag `v0.2.0` of a clean checkout that is the release
	@rm -f dist/psu_agent-* && $(BIN)/python -m hatchling build -d dist
	@[ -d .cache/twine ] || $(BIN)/python -m pip install -q --disable-pip-version-check --target .cache/twine twine check-wheel-contents
	@PYTHONPATH=.cache/twine $(BIN)/python -m twine check --strict dist/psu_agent-*
	@PYTHONPATH=.cache/twine $(BIN)/python -m check_wheel_contents dist/psu_agent-*.whl

deb: $(call STAMP,dev)  ## a Debian package of this host's architecture into dist/: ARCH=arm64 or armhf for another
	@$(BIN)/python package/debian/build.py --into dist $(if $(ARCH),--arch $(ARCH))

package-test: $(call STAMP,dev)  ## the Debian package installed in a clean Debian tree, run, removed (root; a minute or two)
	@PSU_AGENT_PACKAGES=1 $(BIN)/python -m pytest -q -n 0 tests/packaging/test_debian_tree.py

addon: $(call STAMP,dev)  ## the add-on for Home Assistant, complete, into dist/psu_agent: copy that folder to /addons
	@rm -rf dist/psu_agent && mkdir -p dist && cp -r homeassistant-addon dist/psu_agent && rm -rf dist/psu_agent/__pycache__
	@cp docker/requirements.lock dist/psu_agent
	@told=$$($(BIN)/python -m hatchling build -t wheel -d dist/psu_agent 2>&1) || { echo "$$told" >&2; exit 1; }
	@sed -i "s/^version: .*/version: \"$$($(BIN)/python -m hatchling version | sed 's/+/-/')\"/; s/^# The add-on as.*/# Made by \`make addon\`./" dist/psu_agent/config.yaml
	@echo dist/psu_agent
