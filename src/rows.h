/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  Rows of a function's result, filled column by column.
 *
 *	rows_begin(&row, fcinfo);
 *	row_add_...(&row, ...);		a call for each column, in order
 *	row_put(&row);				and so on for each row
 *
 * Number and types of the columns are compared with the declaration of the
 * function: a script that does not match the library is an error, not a crash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ROWS_H
#define ESE_ROWS_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/tuplestore.h"

#define ROW_MAX_COLUMNS 48

typedef struct Row
{
	TupleDesc	desc;
	Tuplestorestate *store;		/* NULL for a single row */
	const char *function;		/* name, for errors */
	int			column;			/* the next one to fill */
	Datum		values[ROW_MAX_COLUMNS];
	bool		nulls[ROW_MAX_COLUMNS];
} Row;

/* The rows of a set, and a single row. */
extern void rows_begin(Row *row, FunctionCallInfo fcinfo);
extern void row_begin_single(Row *row, FunctionCallInfo fcinfo);

extern void row_add_null(Row *row);
extern void row_add_int32(Row *row, int32 value);
extern void row_add_int64(Row *row, int64 value);
extern void row_add_bool(Row *row, bool value);

/*
 * NULL for what is absent: a null pointer, an empty text, a number that is 0.
 * A text may come from a database with another encoding.
 */
extern void row_add_text(Row *row, const char *value);
extern void row_add_id(Row *row, int64 value);	/* bigint */
extern void row_add_number(Row *row, int32 value);	/* integer */
extern void row_add_oid(Row *row, Oid value);
extern void row_add_time(Row *row, int64 value);
extern void row_add_lsn(Row *row, int64 value);

/* NULL for none. */
extern void row_add_int32_array(Row *row, const int32 *values, int count);

/* Microseconds. */
extern void row_add_interval(Row *row, int64 value);

extern void row_put(Row *row);
extern Datum row_single(Row *row);

#endif							/* ESE_ROWS_H */
