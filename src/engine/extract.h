/*-------------------------------------------------------------------------
 *
 * extract.h
 *	  Extracting tar archives, compressed or not, into a directory.
 *
 * What is extracted is compared with an inventory at the same time.  Without
 * a target nothing is written: it is only compared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_EXTRACT_H
#define ESE_EXTRACT_H

#include "inventory.h"
#include "job.h"
#include "sink.h"

/* While a directory is incomplete its pg_control lies beside its name. */
#define CONTROL_FILE_NAME	"global/pg_control"

struct archive;

typedef struct EngExtract
{
	const EngTarget *target;	/* NULL: only compare */
	const Inventory *inventory; /* NULL: not known yet; nothing is compared */
	const char *late_suffix;	/* of pg_control */
	EngSink		sink;
	struct archive *archive;
	EngJob	   *job;			/* that runs now */
	EngShared  *shared;
	int			fd;				/* the archive */
	char	   *piece;			/* read from it */
	int			read_errno;

	/* the member being extracted */
	bool		open;
	InventoryFile *file;		/* NULL: not in the inventory */
	uint64_t	size;			/* as its header says */
	uint64_t	done;
	char		name[1024];

	/* for progress; also read by the owner */
	_Atomic uint64_t files_done;
	_Atomic uint64_t bytes_done;
	_Atomic uint64_t read_done; /* bytes of the archive */
} EngExtract;

/*
 * Opens the archive "name" in a directory.  NULL and errno when that fails,
 * or when memory is out.  The inventory, if there is one, outlives it.
 */
extern EngExtract *eng_extract_new(int directory, const char *name,
								   const EngTarget *target,
								   const Inventory *inventory,
								   const char *late_suffix);
extern void eng_extract_free(EngExtract *extract);

/*
 * Bind a job to it, as to a writer.  It fails with JET_errReadVerifyFailure
 * when the archive is damaged or a member is not what it must be: then
 * 'name' tells which, and is empty for the archive itself.
 */
extern bool eng_job_open_extract(EngJob *job, EngRing *ring,
								 EngExtract *extract);

#endif							/* ESE_EXTRACT_H */
