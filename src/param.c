/*-------------------------------------------------------------------------
 *
 * param.c
 *	  The table of parameters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "utils/builtins.h"
#include "utils/guc.h"

#include "param.h"
#include "shared.h"

typedef enum ParamType
{
	TYPE_BOOL,
	TYPE_NUMBER,
	TYPE_TIME,					/* milliseconds, written with a unit */
	TYPE_RATE,					/* bytes a second, written with a unit */
	TYPE_BYTES,					/* the same, but not a second */
	TYPE_CHOICE,
	TYPE_COMPRESSION,			/* kind * LEVELS + level; level 0: none given */
} ParamType;

struct ParamInfo
{
	const char *name;
	ParamType	type;
	ParamChange change;
	size_t		offset;			/* in Parameters */
	int64		minimum;
	int64		maximum;
	int64		initial;		/* CPUS: as many as there are CPUs */
	const char *unit;
	const char *choices[4];		/* TYPE_CHOICE: names of 0, 1, 2 */
	const char *description;
};

#define CPUS (-1)

/* More than any kind of compression has. */
#define LEVELS 100
#define AT(field) offsetof(Parameters, field)
/* INDENT OFF */
static const ParamInfo params_table[] = {
	{"circular_log", TYPE_BOOL, CHANGE_STOPPED, AT(circular_log), 0, 1, 1, "",
		{NULL}, "No WAL is kept between backups: full backups only.  When it is off, the first full backup whose logs are truncated leaves a replication slot."},
	{"auto_start", TYPE_BOOL, CHANGE_ANY_TIME, AT(auto_start), 0, 1, 1, "",
		{NULL}, "An instance that was running is started again with the server."},
	{"backup_threads", TYPE_NUMBER, CHANGE_BETWEEN_BACKUPS, AT(backup_threads), 1, ENG_MAX_THREADS, CPUS, "threads",
		{NULL}, "Threads that read files; by default one for each CPU."},
	{"backup_idle_timeout", TYPE_TIME, CHANGE_ANY_TIME, AT(backup_idle_timeout), 0, INT64CONST(86400000) * 365, 600000, "ms",
		{NULL}, "A streaming backup without a call for so long is stopped and ended; 0 for never."},
	{"backup_max_rate", TYPE_RATE, CHANGE_ANY_TIME, AT(backup_max_rate), 0, INT64CONST(1) << 50, 0, "B/s",
		{NULL}, "Bytes read per second, over all threads; 0 for no limit."},
	{"backup_checkpoint", TYPE_CHOICE, CHANGE_BETWEEN_BACKUPS, AT(backup_checkpoint), CHECKPOINT_KIND_FAST, CHECKPOINT_KIND_SPREAD, CHECKPOINT_KIND_FAST, "",
		{"fast", "spread", NULL}, "Whether Begin asks for an immediate checkpoint or waits for a spread one."},
	{"verify_checksums", TYPE_CHOICE, CHANGE_BETWEEN_BACKUPS, AT(verify_checksums), VERIFY_OFF, VERIFY_ERROR, VERIFY_ERROR, "",
		{"off", "report", "error", NULL}, "What to do about a damaged page: nothing, report and deliver it, or fail the file."},
	{"manifest_checksums", TYPE_CHOICE, CHANGE_BETWEEN_BACKUPS, AT(manifest_checksums), DIGEST_NONE, DIGEST_SHA256, DIGEST_CRC32C, "",
		{"none", "crc32c", "sha256", NULL}, "Checksum of each file in the backup manifest and the log manifest."},
	{"backup_format", TYPE_CHOICE, CHANGE_BETWEEN_BACKUPS, AT(backup_format), FORMAT_PLAIN, FORMAT_TAR, FORMAT_PLAIN, "",
		{"plain", "tar", NULL}, "What a native backup is: a data directory, or tar archives."},
	{"backup_compression", TYPE_COMPRESSION, CHANGE_BETWEEN_BACKUPS, AT(backup_compression), 0, (COMPRESS_ZSTD + 1) * LEVELS - 1, COMPRESS_NONE, "",
		{NULL}, "Compression of streams, and of native backups in tar format: none, lz4 or zstd, with a level as in zstd:3."},
	{"backup_max_wal_retained", TYPE_BYTES, CHANGE_ANY_TIME, AT(backup_max_wal_retained), 0, INT64CONST(1) << 50, 0, "B",
		{NULL}, "WAL that an open backup, or the chain, may retain; beyond it the backup is stopped, or the chain given up; 0 for no limit."},
	{"backup_min_free_space", TYPE_BYTES, CHANGE_ANY_TIME, AT(backup_min_free_space), 0, INT64CONST(1) << 50, 0, "B",
		{NULL}, "Room on the volume of WAL below which the backup is stopped, or the chain given up; 0 for no limit."},
	{"max_open_files", TYPE_NUMBER, CHANGE_STOPPED, AT(max_open_files), 1, ESE_MAX_OPEN_FILES, 16, "files",
		{NULL}, "Handles a backup may have open; ese_init() reserves 512 kB of ese.stream_buffers for each."},
	{"history_limit", TYPE_NUMBER, CHANGE_ANY_TIME, AT(history_limit), 1, 10000, 1000, "rows",
		{NULL}, "Rows of ese_backup_history that are kept."},
};
/* INDENT ON */

const int	param_count = lengthof(params_table);

static const char *const change_names[] = {
	[CHANGE_ANY_TIME] = "any time",
	[CHANGE_BETWEEN_BACKUPS] = "between backups",
	[CHANGE_STOPPED] = "stopped",
};

const ParamInfo *
param_at(int i)
{
	return &params_table[i];
}

const ParamInfo *
param_find(const char *name)
{
	for (int i = 0; i < param_count; i++)
	{
		if (strcmp(params_table[i].name, name) == 0)
			return &params_table[i];
	}
	return NULL;
}

const char *
param_name(const ParamInfo *param)
{
	return param->name;
}

const char *
param_unit(const ParamInfo *param)
{
	return param->unit;
}

const char *
param_description(const ParamInfo *param)
{
	return param->description;
}

ParamChange
param_change(const ParamInfo *param)
{
	return param->change;
}

const char *
param_change_name(const ParamInfo *param)
{
	return change_names[param->change];
}

int64
param_default(const ParamInfo *param)
{
	long		cpus;

	if (param->initial != CPUS)
		return param->initial;
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	return Max(param->minimum, Min(param->maximum, (int64) cpus));
}

int64
param_get(const Parameters *params, const ParamInfo *param)
{
	return *(const int64 *) ((const char *) params + param->offset);
}

void
param_set(Parameters *params, const ParamInfo *param, int64 value)
{
	*(int64 *) ((char *) params + param->offset) = value;
}

void
param_defaults(Parameters *params)
{
	for (int i = 0; i < param_count; i++)
		param_set(params, &params_table[i], param_default(&params_table[i]));
}

/* Does this kind of compression have such a level? */
static bool
valid_compression(int64 value)
{
	int			level = (int) (value % LEVELS);
	int			lowest;
	int			highest;
	int			usual;

	compress_levels((CompressKind) (value / LEVELS), &lowest, &highest, &usual);
	return level == 0 || (level >= lowest && level <= highest);
}

bool
param_valid(const ParamInfo *param, int64 value)
{
	return value >= param->minimum && value <= param->maximum &&
		(param->type != TYPE_COMPRESSION || valid_compression(value));
}

Compression
param_compression(const Parameters *params)
{
	Compression how;
	int			lowest;
	int			highest;
	int			usual;

	how.kind = (CompressKind) (params->backup_compression / LEVELS);
	how.level = (int) (params->backup_compression % LEVELS);
	compress_levels(how.kind, &lowest, &highest, &usual);
	if (how.level == 0)
		how.level = usual;
	return how;
}

/* A whole number of the largest unit that divides it. */
static char *
show_with_unit(int64 value, const char *const *units, const int64 *sizes,
			   int count)
{
	for (int i = 0; i < count; i++)
	{
		if (value != 0 && value % sizes[i] == 0)
			return psprintf(INT64_FORMAT "%s", value / sizes[i], units[i]);
	}
	return psprintf(INT64_FORMAT, value);
}

char *
param_show(const ParamInfo *param, int64 value)
{
	static const char *const time_units[] = {"d", "h", "min", "s", "ms"};
	static const int64 time_sizes[] = {86400000, 3600000, 60000, 1000, 1};
	static const char *const rate_units[] = {"GB", "MB", "kB"};
	static const int64 rate_sizes[] = {1 << 30, 1 << 20, 1 << 10};

	switch (param->type)
	{
		case TYPE_BOOL:
			return pstrdup(value ? "on" : "off");
		case TYPE_CHOICE:
			return pstrdup(param->choices[value]);
		case TYPE_TIME:
			return show_with_unit(value, time_units, time_sizes,
								  lengthof(time_units));
		case TYPE_RATE:
		case TYPE_BYTES:
			return show_with_unit(value, rate_units, rate_sizes,
								  lengthof(rate_units));
		case TYPE_COMPRESSION:
			if (value % LEVELS == 0)
				return pstrdup(compress_name((CompressKind) (value / LEVELS)));
			return psprintf("%s:%d", compress_name((CompressKind) (value / LEVELS)),
							(int) (value % LEVELS));
		case TYPE_NUMBER:
			break;
	}
	return psprintf(INT64_FORMAT, value);
}

/* A number of bytes: digits and perhaps a unit, in powers of 1024. */
static bool
parse_bytes(const char *text, int64 *value)
{
	static const struct
	{
		const char *name;
		int			shift;
	}			units[] = {{"", 0}, {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}};
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (end == text ||errno != 0 || number < 0)
		return false;
	while (*end == ' ')
		end++;
	for (int i = 0; i < lengthof(units); i++)
	{
		if (strcmp(end, units[i].name) == 0)
		{
			if (number > (PG_INT64_MAX >> units[i].shift))
				return false;
			*value = number << units[i].shift;
			return true;
		}
	}
	return false;
}

static bool
parse_choice(const ParamInfo *param, const char *text, int64 *value)
{
	for (int i = 0; param->choices[i] != NULL; i++)
	{
		if (pg_strcasecmp(param->choices[i], text) == 0)
		{
			*value = i;
			return true;
		}
	}
	return false;
}

/* A kind, and perhaps a colon and a level. */
static bool
parse_compression(const char *text, int64 *value)
{
	for (CompressKind kind = COMPRESS_NONE; kind <= COMPRESS_ZSTD; kind++)
	{
		size_t		length = strlen(compress_name(kind));
		int			level;

		if (pg_strncasecmp(text, compress_name(kind), length) != 0)
			continue;
		*value = kind * LEVELS;
		if (text[length] == '\0')
			return true;
		if (text[length] != ':' ||
			!parse_int(text +length + 1, &level, 0, NULL) ||
			level < 1 || level >= LEVELS)
			return false;
		*value += level;
		return true;
	}
	return false;
}

/* "Give none, lz4, zstd, lz4:1 to lz4:12 or zstd:1 to zstd:22." */
static const char *
describe_compressions(void)
{
	int			lz4[3];
	int			zstd[3];

	compress_levels(COMPRESS_LZ4, &lz4[0], &lz4[1], &lz4[2]);
	compress_levels(COMPRESS_ZSTD, &zstd[0], &zstd[1], &zstd[2]);
	return psprintf("Give none, lz4, zstd, lz4:%d to lz4:%d or zstd:%d to zstd:%d.",
					lz4[0], lz4[1], zstd[0], zstd[1]);
}

/* Bounds and choices, for a message. */
static const char *
describe_values(const ParamInfo *param)
{
	switch (param->type)
	{
		case TYPE_BOOL:
			return "Give on or off.";
		case TYPE_CHOICE:
			return param->choices[2] ?
				psprintf("Give %s, %s or %s.", param->choices[0],
						 param->choices[1], param->choices[2]) :
				psprintf("Give %s or %s.", param->choices[0],
						 param->choices[1]);
		case TYPE_COMPRESSION:
			return describe_compressions();
		case TYPE_TIME:
		case TYPE_RATE:
		case TYPE_BYTES:
		case TYPE_NUMBER:
			break;
	}
	return psprintf("Give a value from %s to %s%s.",
					param_show(param, param->minimum),
					param_show(param, param->maximum),
					param->type == TYPE_RATE ? ", in bytes per second" :
					param->type == TYPE_BYTES ? ", in bytes" : "");
}

bool
param_parse(const ParamInfo *param, const char *text, int64 *value,
			const char **reason)
{
	int			number;
	bool		flag;
	bool		ok = false;

	if (pg_strcasecmp(text, "default") == 0)
	{
		*value = param_default(param);
		return true;
	}
	switch (param->type)
	{
		case TYPE_BOOL:
			ok = parse_bool(text, &flag);
			*value = flag;
			break;
		case TYPE_NUMBER:
			ok = parse_int(text, &number, 0, NULL);
			*value = number;
			break;
		case TYPE_TIME:
			{
				/* the server's own parser stops at 2^31 ms, some 24 days */
				double		ms;

				ok = parse_real(text, &ms, GUC_UNIT_MS, NULL) && ms >= 0 &&
					ms <= (double) param->maximum;
				*value = ok ? (int64) ms : 0;
				break;
			}
		case TYPE_RATE:
		case TYPE_BYTES:
			ok = parse_bytes(text, value);
			break;
		case TYPE_CHOICE:
			ok = parse_choice(param, text, value);
			break;
		case TYPE_COMPRESSION:
			ok = parse_compression(text, value);
			break;
	}
	if (ok && param_valid(param, *value))
		return true;
	*reason = describe_values(param);
	return false;
}
