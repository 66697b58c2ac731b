/*-------------------------------------------------------------------------
 *
 * intake.h
 *	  Taking files from the queue and reading them, piece by piece.
 *
 * What a stream and a writer have in common: which files they have taken,
 * and the one that is being read.  Used by the thread that runs the job; by
 * the owner while it is idle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_INTAKE_H
#define ESE_INTAKE_H

#include "inventory.h"
#include "job.h"
#include "queue.h"

/* What became of a file that was taken. */
typedef enum MemberOutcome
{
	MEMBER_SENT,				/* it was read; what was made of it ends at
								 * 'end' */
	MEMBER_MISSING,				/* ENOENT when it was to be opened */
	MEMBER_UNREADABLE,			/* another error when it was to be opened */
} MemberOutcome;

typedef struct EngMember
{
	uint32_t	index;			/* in the queue's entries */
	int32_t		sys_errno;		/* of what could not be opened */
	MemberOutcome outcome;
	int64_t		listed_size;	/* the entry's size before it was opened */
	uint64_t	end;			/* bytes written with it and its padding;
								 * UINT64_MAX while unfinished: it goes back
								 * to the queue, whatever was received */
} EngMember;

typedef struct EngIntake
{
	EngQueue   *queue;
	VerifyMode	verify;			/* of relations */
	int			directory;		/* that paths are relative to; AT_FDCWD unless
								 * set after intake_init() */
	InventoryFile **expected;	/* what entries must be, by index; NULL for
								 * nothing */
	Digest		digest;			/* then these are of the file's own kind */
	Digest		scratch;

	/* what was taken, in order; the last may be unfinished */
	EngMember  *members;
	uint32_t	member_count;
	uint32_t	member_room;
	uint32_t	ended;			/* members whose end is known */

	FileEntry  *entry;			/* the file being read, or NULL */
	uint32_t	index;
	uint64_t	offset;			/* bytes of it read and verified */
	uint32_t	piece;			/* length of the piece that is loaded */

	/* for progress; also read by the owner */
	_Atomic uint64_t files_done;
	_Atomic uint64_t bytes_done;
} EngIntake;

typedef enum IntakeResult
{
	INTAKE_FILE,				/* 'entry' is open */
	INTAKE_SKIPPED,				/* it could not be opened */
	INTAKE_EMPTY,				/* the queue is empty */
	INTAKE_UNWANTED,			/* the job is not wanted any more; what was
								 * taken stays unfinished */
	INTAKE_FAILED,				/* so has the job */
} IntakeResult;

extern void intake_init(EngIntake *intake, EngQueue *queue, VerifyMode verify);
extern void intake_free(EngIntake *intake);

/* What follows is for the steps of jobs. */

/* Take the next file and open it. */
extern IntakeResult intake_next(EngJob *job, EngShared *shared,
								EngIntake *intake);

/* Is there more of the open file to read? */
extern bool intake_has_more(const EngIntake *intake);

/*
 * Read, verify and digest the next piece.  Pages are not split: *length is 0
 * when not one more fits.
 */
extern JobOutcome intake_read(EngJob *job, EngShared *shared,
							  EngIntake *intake, char *to, uint32_t room,
							  uint32_t *length);

/* The open file was read: its digest goes to its entry. */
extern JobOutcome intake_finish(EngJob *job, EngIntake *intake);

/* Of what was taken, so many have their ends here or before. */
extern void intake_set_end(EngIntake *intake, uint32_t members, uint64_t end);

#endif							/* ESE_INTAKE_H */
