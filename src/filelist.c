/*-------------------------------------------------------------------------
 *
 * filelist.c
 *	  Listing the data directory as core's base backup does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "catalog/pg_tablespace_d.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "engine/jet.h"
#include "engine/relfile.h"
#include "filelist.h"
#include "report.h"
#include "statefile.h"

/* Memory for so many bytes of names is taken at once. */
#define NAMES_AT_ONCE (64 * 1024)

/* Directories that must exist in a backup, but empty. */
static const char *const emptied_directories[] = {
	"pg_stat_tmp", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial",
	"pg_snapshots", "pg_subtrans", ESE_DIRECTORY
};

typedef struct ExcludedName
{
	const char *name;
	bool		is_prefix;
} ExcludedName;

static const ExcludedName excluded_names[] = {
	{"postgresql.auto.conf.tmp", false},
	{"current_logfiles.tmp", false},
	{"pg_internal.init", true},
	{"backup_label", false},
	{"tablespace_map", false},
	{"backup_manifest", false},
	{"postmaster.pid", false},
	{"postmaster.opts", false},
	{"pgsql_tmp", true},
	{".DS_Store", false},
};

static const char *const kind_names[] = {
	[FILE_RELATION] = "relation",
	[FILE_OTHER] = "file",
	[FILE_DIRECTORY] = "directory",
	[FILE_LOG] = "log",
	[FILE_PATCH] = "patch",
};

/* What is known while a directory is listed. */
typedef struct Scan
{
	FileList   *list;
	bool		from_standby;
	List	   *tablespaces;	/* char *: OIDs with a link in the map */
	List	   *inside;			/* char *: tablespaces inside the data
								 * directory, relative to it */
} Scan;

/* Is a directory one with relation files, and whose? */
typedef struct Location
{
	bool		has_relations;
	Oid			database;
	Oid			tablespace;
} Location;

static void scan_directory(Scan *scan, const char *path);

void
filelist_init(FileList *list)
{
	list->count = 0;
	list->room = 256;
	list->names_left = 0;
	list->streamed = false;
	list->shown_last = NULL;
	list->entries = palloc(sizeof(FileEntry) * list->room);
}

/* Names lie one behind the other: a chunk for each would be twice as much. */
static char *
keep_name(FileList *list, const char *name)
{
	size_t		length = strlen(name) + 1;
	char	   *kept;

	if (list->names_left < length)
	{
		list->names = palloc(NAMES_AT_ONCE);
		list->names_left = NAMES_AT_ONCE;
	}
	kept = list->names;
	memcpy(kept, name, length);
	list->names += length;
	list->names_left -= length;
	return kept;
}

FileEntry *
filelist_add(FileList *list, FileKind kind, const char *name, int64 size)
{
	FileEntry  *entry;

	if (list->count == list->room)
	{
		list->room *= 2;
		list->entries = repalloc_huge(list->entries,
									  sizeof(FileEntry) * list->room);
	}
	entry = &list->entries[list->count++];
	memset(entry, 0, sizeof(*entry));
	entry->kind = kind;
	entry->name = keep_name(list, name);
	entry->size = size;
	return entry;
}

/* Cancelled with the start of the backup: the list goes then. */
static int
compare_entries(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return strcmp(((const FileEntry *) a)->name,
				  ((const FileEntry *) b)->name);
}

void
filelist_sort(FileList *list)
{
	qsort(list->entries, list->count, sizeof(FileEntry), compare_entries);
}

FileEntry *
filelist_find(FileList *list, const char *name)
{
	FileEntry	key = {.name = unconstify(char *, name)};

	return bsearch(&key, list->entries, list->count, sizeof(FileEntry),
				   compare_entries);
}

const char *
filelist_kind_name(FileKind kind)
{
	return kind_names[kind];
}

/* A directory's name that is a number, as an OID; else InvalidOid. */
static Oid
oid_of_name(const char *name)
{
	RelFile		file;

	if (strspn(name, "0123456789") != strlen(name) ||
		!relfile_parse(name, &file))
		return InvalidOid;
	return file.number;
}

/*
 * Split a path into components in place; returns their number, at most max.
 */
static int
split_path(char *path, char **parts, int max)
{
	int			count = 0;
	char	   *rest;

	for (char *p = strtok_r(path, "/", &rest); p != NULL && count < max;
		 p = strtok_r(NULL, "/", &rest))
		parts[count++] = p;
	return count;
}

/*
 * Which relations lie in a directory: global, base/<db> or
 * pg_tblspc/<spc>/<version>/<db>.
 */
static Location
locate(const char *path)
{
	Location	where = {false, InvalidOid, InvalidOid};
	char	   *copy = pstrdup(path);
	char	   *parts[5];
	int			count = split_path(copy, parts, lengthof(parts));

	if (count == 1 && strcmp(parts[0], "global") == 0)
	{
		where.has_relations = true;
		where.tablespace = GLOBALTABLESPACE_OID;
	}
	else if (count == 2 && strcmp(parts[0], "base") == 0)
	{
		where.database = oid_of_name(parts[1]);
		where.tablespace = DEFAULTTABLESPACE_OID;
	}
	else if (count == 4 && strcmp(parts[0], "pg_tblspc") == 0 &&
			 strcmp(parts[2], TABLESPACE_VERSION_DIRECTORY) == 0)
	{
		where.tablespace = oid_of_name(parts[1]);
		where.database = oid_of_name(parts[3]);
	}
	if (OidIsValid(where.database) && OidIsValid(where.tablespace))
		where.has_relations = true;
	pfree(copy);
	return where;
}

static bool
is_excluded(const Scan *scan, const char *name, const char *path)
{
	for (int i = 0; i < lengthof(excluded_names); i++)
	{
		const ExcludedName *x = &excluded_names[i];

		if (x->is_prefix ? strncmp(name, x->name, strlen(x->name)) == 0
			: strcmp(name, x->name) == 0)
			return true;
	}
	/* read last, under its lock */
	if (strcmp(path, "global/pg_control") == 0)
		return true;
	return scan->from_standby && strcmp(path, "standby.signal") == 0;
}

static bool
is_emptied(const char *name)
{
	for (int i = 0; i < lengthof(emptied_directories); i++)
	{
		if (strcmp(name, emptied_directories[i]) == 0)
			return true;
	}
	return false;
}

static bool
list_has(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

static void
add_directory(Scan *scan, const char *path)
{
	filelist_add(scan->list, FILE_DIRECTORY, path, 0);
}

/* pg_wal is there with its subdirectories, but empty: logs come later. */
static void
add_wal_directories(Scan *scan)
{
	struct stat st;

	add_directory(scan, "pg_wal");
	add_directory(scan, "pg_wal/archive_status");
	if (stat("pg_wal/summaries", &st) == 0)
		add_directory(scan, "pg_wal/summaries");
}

/* A tablespace: only what belongs to this version lies in the backup. */
static void
scan_tablespace(Scan *scan, const char *path)
{
	char	   *version = psprintf("%s/%s", path, TABLESPACE_VERSION_DIRECTORY);

	add_directory(scan, path);
	add_directory(scan, version);
	scan_directory(scan, version);
	pfree(version);
}

static void
scan_subdirectory(Scan *scan, const char *name, const char *path)
{
	if (strcmp(path, "pg_wal") == 0)
	{
		add_wal_directories(scan);
		return;
	}
	add_directory(scan, path);
	if (!is_emptied(name) && !list_has(scan->inside, path))
		scan_directory(scan, path);
}

/*
 * A symbolic link: a tablespace, or a directory the administrator has moved
 * away where only its existence matters.
 */
static void
scan_link(Scan *scan, const char *name, const char *path)
{
	if (strncmp(path, "pg_tblspc/", 10) == 0)
	{
		/* one that was created since is replayed from WAL */
		if (list_has(scan->tablespaces, name))
			scan_tablespace(scan, path);
	}
	else if (strcmp(path, "pg_wal") == 0)
		add_wal_directories(scan);
	else if (is_emptied(name))
		add_directory(scan, path);
	else
		ereport(WARNING,
				(errmsg("symbolic link \"%s\" is not part of the backup", path),
				 errhint("Only tablespaces and pg_wal may be symbolic links.")));
}

/* What cannot be read now is better known now than after all the rest. */
static void
refuse_unreadable(const char *kind, const char *path)
{
	bool		denied = errno == EACCES;

	ereport(ERROR,
			(denied ? jet_errcode(JET_errFileAccessDenied) :
			 errcode_for_file_access(),
			 errmsg("could not open %s \"%s\": %m", kind, path),
			 denied ? jet_errdetail(JET_errFileAccessDenied, NULL) : 0,
			 errhint("A backup holds everything in the data directory: let the server's user read it, or move it out.")));
}

/* Only of a file that is not plainly the server's own the kernel is asked. */
static void
check_readable(const char *path, const struct stat *st)
{
	if ((st->st_uid != geteuid() || !(st->st_mode & S_IRUSR)) &&
		access(path, R_OK) != 0 && errno != ENOENT)
		refuse_unreadable("file", path);
}

static void
add_file(Scan *scan, const char *name, const char *path,
		 const struct stat *st, const Location *where)
{
	FileEntry  *entry;
	RelFile		file;

	check_readable(path, st);

	if (!where->has_relations || !relfile_parse(name, &file))
		entry = filelist_add(scan->list, FILE_OTHER, path, st->st_size);
	else
	{
		entry = filelist_add(scan->list, FILE_RELATION, path, st->st_size);
		entry->first_block = file.segment * (uint32) RELSEG_SIZE;
	}
	/* PG_VERSION and pg_filenode.map belong to the database as well */
	entry->database = where->database;
	entry->tablespace = where->tablespace;
	entry->modified = st->st_mtime;
}

static void
scan_entry(Scan *scan, const char *directory, const char *name,
		   const Location *where)
{
	char		path[MAXPGPATH];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s%s%s", directory,
				 directory[0] ? "/" : "", name) >= (int) sizeof(path))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the name of a file in directory \"%s\" is too long",
						directory)));
	if (is_excluded(scan, name, path))
		return;
	if (where->has_relations && relfile_is_temporary(name))
		return;
	if (lstat(path, &st) != 0)
	{
		if (errno == ENOENT)
			return;				/* removed since */
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	}

	if (S_ISREG(st.st_mode))
		add_file(scan, name, path, &st, where);
	else if (S_ISDIR(st.st_mode))
		scan_subdirectory(scan, name, path);
	else if (S_ISLNK(st.st_mode))
		scan_link(scan, name, path);
	else
		ereport(WARNING,
				(errmsg("special file \"%s\" is not part of the backup", path)));
}

/*
 * The names in a directory.  One that was removed is empty; what cannot be
 * read for another reason fails the backup.
 */
static List *
read_names(const char *path)
{
	const char *real = path[0] ? path : ".";
	DIR		   *directory = AllocateDir(real);
	struct dirent *de;
	List	   *names = NIL;

	if (directory == NULL && errno == ENOENT)
		return NIL;
	if (directory == NULL)
		refuse_unreadable("directory", path);
	while ((de = ReadDir(directory, real)) != NULL)
	{
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			names = lappend(names, pstrdup(de->d_name));
	}
	FreeDir(directory);
	return names;
}

static int
compare_numbers(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

/* The relations of a directory that have an init fork: unlogged ones. */
static uint32 *
find_unlogged(List *names, int *count)
{
	uint32	   *numbers = palloc(sizeof(uint32) * (list_length(names) + 1));
	ListCell   *cell;

	*count = 0;
	foreach(cell, names)
	{
		RelFile		file;

		if (relfile_parse(lfirst(cell), &file) && file.fork == FORK_INIT)
			numbers[(*count)++] = file.number;
	}
	qsort(numbers, *count, sizeof(uint32), compare_numbers);
	return numbers;
}

/* A fork that the server makes anew from the init fork. */
static bool
is_reset_fork(const char *name, const uint32 *unlogged, int count)
{
	RelFile		file;

	return count > 0 && relfile_parse(name, &file) && file.fork != FORK_INIT &&
		bsearch(&file.number, unlogged, count, sizeof(uint32),
				compare_numbers) != NULL;
}

static void
scan_directory(Scan *scan, const char *path)
{
	Location	where = locate(path);
	List	   *names;
	uint32	   *unlogged;
	int			unlogged_count;
	ListCell   *cell;

	check_stack_depth();
	names = read_names(path);
	unlogged = find_unlogged(where.has_relations ? names : NIL,
							 &unlogged_count);
	foreach(cell, names)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_reset_fork(lfirst(cell), unlogged, unlogged_count))
			scan_entry(scan, path, lfirst(cell), &where);
	}
	pfree(unlogged);
	list_free_deep(names);
}

/* Take the OIDs and the paths out of a tablespace map. */
static void
read_tablespace_map(Scan *scan, const char *map)
{
	size_t		root_length = strlen(DataDir);
	char	   *copy = pstrdup(map);
	char	   *rest;

	/* a line break inside a path is escaped, so lines are lines */
	for (char *line = strtok_r(copy, "\n", &rest); line != NULL;
		 line = strtok_r(NULL, "\n", &rest))
	{
		char	   *path = strchr(line, ' ');

		if (path == NULL)
			continue;
		*path++ = '\0';
		scan->tablespaces = lappend(scan->tablespaces, pstrdup(line));
		if (strncmp(path, DataDir, root_length) == 0 &&
			path[root_length] == '/')
			scan->inside = lappend(scan->inside,
								   pstrdup(path + root_length + 1));
	}
	pfree(copy);
}

void
filelist_scan(FileList *list, const char *tablespace_map, bool from_standby)
{
	Scan		scan = {.list = list,.from_standby = from_standby};

	read_tablespace_map(&scan, tablespace_map);
	scan_directory(&scan, "");
	filelist_sort(list);
}

static bool
directory_opens(const char *path)
{
	DIR		   *directory = AllocateDir(path);

	if (directory == NULL)
		return false;
	FreeDir(directory);
	return true;
}

bool
filelist_is_gone(const FileEntry *entry)
{
	char		path[MAXPGPATH];

	/* a dropped database takes its directory along: look at what held that */
	if (OidIsValid(entry->database))
	{
		if (entry->tablespace == DEFAULTTABLESPACE_OID)
			return directory_opens("base");
		snprintf(path, sizeof(path), "pg_tblspc/%u/%s", entry->tablespace,
				 TABLESPACE_VERSION_DIRECTORY);
		return directory_opens(path);
	}
	strlcpy(path, entry->name, sizeof(path));
	get_parent_directory(path);
	return directory_opens(path[0] ? path : ".");
}
