/*-------------------------------------------------------------------------
 *
 * extract.h
 *	  Extracting tar archives, compressed or not, into a directory.
 *
 * What is extracted is compared with an inventory at the same time.  Without
 * a target nothing is written: it is only compared.  The inventory itself lies
 * in the first archive of logs; of those only what belongs to logs is taken,
 * and it must be compared later.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_EXTRACT_H
#define ESE_EXTRACT_H

#include "inventory.h"
#include "job.h"
#include "sink.h"
#include "tarread.h"
#include "unpack.h"

/* While a directory is incomplete its pg_control lies beside its name. */
#define CONTROL_FILE_NAME	"global/pg_control"

/* What an archive must be, as far as that is known. */
typedef struct EngArchive
{
	const char *name;
	bool		listed;			/* the next two are known */
	uint64_t	size;
	DigestValue digest;			/* of its bytes, or none */
	bool		of_logs;		/* it comes before the inventory is known */
} EngArchive;

typedef struct EngExtract
{
	EngArchive	archive;
	const EngTarget *target;	/* NULL: only compare */
	const Inventory *inventory; /* NULL: of_logs */
	const char *late_suffix;	/* of pg_control */
	EngSink		sink;
	EngJob	   *job;			/* that runs now */
	EngShared  *shared;
	int			directory;		/* the owner's */
	int			fd;				/* the archive; -1: not open yet */
	const char *why;			/* it is damaged: a phrase; NULL: a member is
								 * not what it must be */

	/* bytes of the archive, and what was made of these */
	char	   *raw;
	size_t		raw_at;
	size_t		raw_length;
	bool		raw_ended;
	Digest		raw_digest;
	Unpacker   *unpacker;		/* NULL: not compressed */
	char	   *unpacked;
	const char *at;				/* the next byte of the tar */
	size_t		left;			/* bytes that are there from it on */

	/* the member being extracted */
	char		header[TAR_MAX_HEADER];
	size_t		header_length;
	bool		open;
	bool		ending;			/* the end of the archive was begun */
	size_t		zeros;			/* that must come now */
	InventoryFile *file;		/* NULL: not in the inventory */
	TarMember	member;
	uint64_t	done;
	Digest		digest;
	Digest		scratch;

	/* of_logs: the members */
	char	  **names;
	uint32_t	name_count;
	uint32_t	name_room;

	/* for progress; also read by the owner */
	_Atomic uint64_t files_done;
	_Atomic uint64_t bytes_done;
	_Atomic uint64_t read_done; /* bytes of the archive */
} EngExtract;

/*
 * For an archive in a directory, which its job opens.  NULL when memory is out.
 * The directory and the inventory, if there is one, outlive it.
 */
extern EngExtract *eng_extract_new(int directory, const EngArchive *archive,
								   const EngTarget *target,
								   const Inventory *inventory,
								   const char *late_suffix);
extern void eng_extract_free(EngExtract *extract);

/*
 * Bind a job to it, as to a writer.  It fails with JET_errReadVerifyFailure
 * when the archive is damaged ('why' says how) or a member is not what it must
 * be (member.name tells which).
 */
extern bool eng_job_open_extract(EngJob *job, EngRing *ring,
								 EngExtract *extract);

#endif							/* ESE_EXTRACT_H */
