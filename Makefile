# ese: backup instances for PostgreSQL

MODULE_big = ese
EXTENSION = ese
DATA = ese--1.0.sql
PGFILEDESC = "ese - streaming backups over SQL that can be stopped at any moment"

ENGINE_OBJS = \
	src/engine/atomic.o \
	src/engine/backupindex.o \
	src/engine/buffer.o \
	src/engine/closing.o \
	src/engine/compress.o \
	src/engine/destination.o \
	src/engine/digest.o \
	src/engine/document.o \
	src/engine/documentfile.o \
	src/engine/endpoint.o \
	src/engine/escape.o \
	src/engine/extract.o \
	src/engine/flusher.o \
	src/engine/intake.o \
	src/engine/inventory.o \
	src/engine/jet.o \
	src/engine/job.o \
	src/engine/logaccount.o \
	src/engine/logchain.o \
	src/engine/logmanifest.o \
	src/engine/logname.o \
	src/engine/manifest.o \
	src/engine/options.o \
	src/engine/pack.o \
	src/engine/page.o \
	src/engine/pathwork.o \
	src/engine/pool.o \
	src/engine/protocol.o \
	src/engine/publishing.o \
	src/engine/queue.o \
	src/engine/record.o \
	src/engine/relfile.o \
	src/engine/removal.o \
	src/engine/restoring.o \
	src/engine/ring.o \
	src/engine/search.o \
	src/engine/sink.o \
	src/engine/stream.o \
	src/engine/tar.o \
	src/engine/tarread.o \
	src/engine/target.o \
	src/engine/thread.o \
	src/engine/throttle.o \
	src/engine/unpack.o \
	src/engine/walk.o \
	src/engine/writer.o

OBJS = \
	$(ENGINE_OBJS) \
	src/aside.o \
	src/backup.o \
	src/begin.o \
	src/call.o \
	src/chain.o \
	src/check.o \
	src/child.o \
	src/client.o \
	src/ese.o \
	src/filelist.o \
	src/filename.o \
	src/finding.o \
	src/frame.o \
	src/guard.o \
	src/handlenumber.o \
	src/hanging.o \
	src/history.o \
	src/identity.o \
	src/instance.o \
	src/launcher.o \
	src/leftover.o \
	src/logfacts.o \
	src/loglist.o \
	src/message.o \
	src/native.o \
	src/nativelogs.o \
	src/openfile.o \
	src/param.o \
	src/pathrun.o \
	src/privateserver.o \
	src/privilege.o \
	src/reader.o \
	src/receipt.o \
	src/recordlock.o \
	src/refuse.o \
	src/refused.o \
	src/registry.o \
	src/report.o \
	src/restore.o \
	src/restoreclient.o \
	src/restoreend.o \
	src/restorefiles.o \
	src/restoreplace.o \
	src/rows.o \
	src/shared.o \
	src/signature.o \
	src/source.o \
	src/statefile.o \
	src/stop.o \
	src/streamfile.o \
	src/streamreader.o \
	src/survive.o \
	src/testpoint.o \
	src/unread.o \
	src/view.o \
	src/waiter.o \
	src/worker.o

# PostgreSQL 15 exports everything and leaves PGDLLEXPORT empty; hide the rest.
PG_CPPFLAGS = -Isrc -D'PGDLLEXPORT=__attribute__((visibility("default")))'
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -fvisibility=hidden $(WERROR)
ENGINE_LIBS = -lisal -lcrypto -lzstd -llz4 -ljansson -lpthread
SHLIB_LINK = $(ENGINE_LIBS)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
override with_llvm = no
include $(PGXS)
# Headers define what lies in shared memory: all objects must agree on it.
$(OBJS): $(wildcard src/*.h src/engine/*.h src/engine/*.def)
# The engine is compiled without the server's headers: what includes
# postgres.h there does not compile.
$(ENGINE_OBJS): override CPPFLAGS = -Isrc -D_GNU_SOURCE
$(ENGINE_OBJS): override CFLAGS = -std=c11 -O2 -g -fPIC -Wall -Wextra \
	-fvisibility=hidden $(WERROR)
endif

# ----------------------------------------------------------------------------
# Everything below works before the server's headers are installed: what needs
# them is done by a second make.

BINDIR = $(shell $(PG_CONFIG) --bindir)
PGXS_DIR = $(dir $(PGXS))../..
SAN ?=
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: setup demo test test-built check-unit check-boundary check-regress \
	check-installed check-platform check-isolation check-tap bench indent indent-check

setup:
	@dev/setup.sh

# Set up, build, install, and show the main job on a throw-away cluster.
demo: setup
	@$(MAKE) --no-print-directory all >/dev/null
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@dev/unprivileged.sh perl -Itest/lib dev/demo.pl

# Set up, build, install, and run every test.
test: setup
	$(MAKE) --no-print-directory all
	$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	$(MAKE) --no-print-directory test-built

test-built: check-unit check-boundary check-platform
	dev/unprivileged.sh $(MAKE) --no-print-directory check-regress check-isolation check-tap

# ---- unit tests: the engine alone; SAN=thread or SAN=address,undefined

UNIT_TESTS = $(basename $(notdir $(wildcard test/unit/*_test.c)))
UNIT_DIR = build/unit$(if $(SAN),-$(subst $(comma),-,$(SAN)))
UNIT_CFLAGS = -std=c11 -O1 -g -D_GNU_SOURCE -Isrc -Wall -Wextra -Werror \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
comma := ,

UNIT_PROGRAMS = $(UNIT_TESTS:%=$(UNIT_DIR)/%)
UNIT_ENGINE = $(patsubst src/engine/%.c,$(UNIT_DIR)/engine/%.o,$(wildcard src/engine/*.c))

check-unit: $(UNIT_PROGRAMS)
	prove --exec '' $^

# The engine is compiled once, for all programs.
$(UNIT_ENGINE): $(UNIT_DIR)/engine/%.o: src/engine/%.c $(wildcard src/engine/*.h src/engine/*.def)
	@mkdir -p $(@D)
	@gcc $(UNIT_CFLAGS) -c $< -o $@

$(UNIT_PROGRAMS): $(UNIT_DIR)/%: test/unit/%.c $(wildcard test/unit/*.h) $(UNIT_ENGINE)
	@gcc $(UNIT_CFLAGS) $< $(UNIT_ENGINE) -o $@ $(ENGINE_LIBS)

# ---- the engine must not know PostgreSQL: no include, no symbol

check-boundary: all
	@! grep -nE '#include *[<"](postgres|c\.h|utils/|storage/)' src/engine/*.[ch]
	@nm -u $(ENGINE_OBJS) | grep -E ' U (pg_|palloc|pfree|err(start|finish|msg)|elog|LWLock|SetLatch|MemoryContext|Process)' \
		&& { echo 'check-boundary: the engine refers to PostgreSQL' >&2; exit 1; } || true

# ---- pages of 8192 bytes, little-endian: anything else is a build error

check-platform:
	@test/platform.sh

# ---- tests with a server; each starts its own

# They run what is installed.
check-installed:
	@cmp -s ese.so "$$($(PG_CONFIG) --pkglibdir)/ese.so" && cmp -s ese--1.0.sql "$$($(PG_CONFIG) --sharedir)/extension/ese--1.0.sql" \
		|| { echo 'what is installed is not what was built: run make install first' >&2; exit 1; }

check-regress: check-installed
	$(PGXS_DIR)/src/test/regress/pg_regress --bindir=$(BINDIR) --inputdir=. \
		--temp-instance=tmp_check --temp-config=test/ese.conf \
		--load-extension=ese $(basename $(notdir $(wildcard sql/*.sql)))

check-isolation: check-installed
	$(PGXS_DIR)/src/test/isolation/pg_isolation_regress --bindir=$(BINDIR) \
		--inputdir=test/isolation --outputdir=output_iso \
		--temp-instance=tmp_check_iso --temp-config=test/ese.conf \
		--load-extension=ese $(basename $(notdir $(wildcard test/isolation/specs/*.spec)))

PROVE_TESTS ?= test/t/*.pl
check-tap: check-installed
	rm -rf tmp_check && mkdir -p tmp_check
	PATH="$(BINDIR):$$PATH" PG_REGRESS=$(PGXS_DIR)/src/test/regress/pg_regress \
		TESTDIR="$(CURDIR)" PGPORT=65432 \
		prove --timer -I $(PGXS_DIR)/src/test/perl -I test/lib $(PROVE_FLAGS) $(PROVE_TESTS)

# ---- benchmarks; BENCH="--scale 100 --runs 3" for less, BENCH=--help

bench:
	@dev/setup.sh pgbackrest
	@$(MAKE) --no-print-directory all >/dev/null
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@dev/unprivileged.sh perl -Itest/lib test/bench/bench.pl $(BENCH)

# ---- format

indent:
	@dev/indent.sh

indent-check:
	@dev/indent.sh --check
