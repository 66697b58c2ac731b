/*-------------------------------------------------------------------------
 *
 * param.h
 *	  Parameters of an instance: one table of names, bounds and defaults.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PARAM_H
#define ESE_PARAM_H

#include "engine/compress.h"
#include "engine/engine.h"

/* The values, parsed. */
typedef struct Parameters
{
	int64		circular_log;	/* bool */
	int64		auto_start;		/* bool */
	int64		backup_threads;
	int64		backup_idle_timeout;	/* ms; 0: never */
	int64		backup_max_rate;	/* bytes a second; 0: unlimited */
	int64		backup_checkpoint;	/* CheckpointKind */
	int64		verify_checksums;	/* VerifyMode */
	int64		manifest_checksums; /* DigestKind */
	int64		backup_format;	/* BackupFormat */
	int64		backup_compression; /* see param_compression() */
	int64		backup_max_wal_retained;	/* bytes; 0: no limit */
	int64		backup_min_free_space;	/* bytes; 0: no limit */
	int64		max_open_files;
	int64		history_limit;
} Parameters;

typedef enum CheckpointKind
{
	CHECKPOINT_KIND_FAST,
	CHECKPOINT_KIND_SPREAD,
} CheckpointKind;

/* What a native backup is. */
typedef enum BackupFormat
{
	FORMAT_PLAIN,				/* a data directory */
	FORMAT_TAR,
} BackupFormat;

/* When a parameter may be changed. */
typedef enum ParamChange
{
	CHANGE_ANY_TIME,
	CHANGE_BETWEEN_BACKUPS,
	CHANGE_STOPPED,
} ParamChange;

typedef struct ParamInfo ParamInfo;

extern const int param_count;

/* NULL when there is no such parameter. */
extern const ParamInfo *param_find(const char *name);
extern const ParamInfo *param_at(int i);

extern const char *param_name(const ParamInfo *param);
extern const char *param_unit(const ParamInfo *param);
extern const char *param_description(const ParamInfo *param);
extern ParamChange param_change(const ParamInfo *param);
extern const char *param_change_name(const ParamInfo *param);

extern void param_defaults(Parameters *params);
extern int64 param_get(const Parameters *params, const ParamInfo *param);
extern void param_set(Parameters *params, const ParamInfo *param, int64 value);

/* The value as text, palloc'd. */
extern char *param_show(const ParamInfo *param, int64 value);
extern int64 param_default(const ParamInfo *param);

/*
 * Parse a value ("default" resets).  On failure returns false and sets
 * *reason, a sentence.
 */
extern bool param_parse(const ParamInfo *param, const char *text,
						int64 *value, const char **reason);

/* What backup_compression says. */
extern Compression param_compression(const Parameters *params);

/* Is a stored value within bounds? */
extern bool param_valid(const ParamInfo *param, int64 value);

#endif							/* ESE_PARAM_H */
