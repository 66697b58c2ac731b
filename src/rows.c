/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows of a function's result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "filename.h"
#include "rows.h"
#include "signature.h"

static void
begin(Row *row, FunctionCallInfo fcinfo, TupleDesc desc, Tuplestorestate *store)
{
	row->desc = desc;
	row->store = store;
	row->function = get_func_name(fcinfo->flinfo->fn_oid);
	row->column = 0;
}

void
rows_begin(Row *row, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	signature_check(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	begin(row, fcinfo, rsinfo->setDesc, rsinfo->setResult);
}

void
row_begin_single(Row *row, FunctionCallInfo fcinfo)
{
	TupleDesc	desc;

	signature_check(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	begin(row, fcinfo, BlessTupleDesc(desc), NULL);
}

static void
refuse_count(Row *row)
{
	signature_refuse(row->function,
					 psprintf("It is declared to return %d columns, and the library returns %s %d.",
							  row->desc->natts,
							  row->column < row->desc->natts ? "only" : "more than",
							  Min(row->column, row->desc->natts)));
}

/* The place of the next column, which must be of this type. */
static int
next_column(Row *row, Oid type)
{
	if (row->column >= row->desc->natts || row->column >= ROW_MAX_COLUMNS)
		refuse_count(row);
	if (OidIsValid(type) && TupleDescAttr(row->desc, row->column)->atttypid != type)
		signature_refuse(row->function,
						 psprintf("Its column \"%s\" is of type %s, and the library returns %s.",
								  NameStr(TupleDescAttr(row->desc, row->column)->attname),
								  format_type_be(TupleDescAttr(row->desc, row->column)->atttypid),
								  format_type_be(type)));
	return row->column++;
}

static void
add(Row *row, Oid type, Datum value, bool isnull)
{
	int			column = next_column(row, type);

	row->values[column] = value;
	row->nulls[column] = isnull;
}

void
row_add_null(Row *row)
{
	add(row, InvalidOid, (Datum) 0, true);
}

void
row_add_int32(Row *row, int32 value)
{
	add(row, INT4OID, Int32GetDatum(value), false);
}

void
row_add_int64(Row *row, int64 value)
{
	add(row, INT8OID, Int64GetDatum(value), false);
}

void
row_add_bool(Row *row, bool value)
{
	add(row, BOOLOID, BoolGetDatum(value), false);
}

void
row_add_text(Row *row, const char *value)
{
	bool		absent = value == NULL || value[0] == '\0';

	add(row, TEXTOID,
		absent ? (Datum) 0 : CStringGetTextDatum(filename_text(value)), absent);
}

void
row_add_id(Row *row, int64 value)
{
	add(row, INT8OID, Int64GetDatum(value), value == 0);
}

void
row_add_number(Row *row, int32 value)
{
	add(row, INT4OID, Int32GetDatum(value), value == 0);
}

void
row_add_oid(Row *row, Oid value)
{
	add(row, OIDOID, ObjectIdGetDatum(value), !OidIsValid(value));
}

void
row_add_int32_array(Row *row, const int32 *values, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum(values[i]);
	add(row, INT4ARRAYOID,
		PointerGetDatum(construct_array(elements, count, INT4OID,
										sizeof(int32), true, TYPALIGN_INT)),
		count == 0);
}

void
row_add_time(Row *row, int64 value)
{
	add(row, TIMESTAMPTZOID, TimestampTzGetDatum(value), value == 0);
}

void
row_add_lsn(Row *row, int64 value)
{
	add(row, PG_LSNOID, LSNGetDatum((XLogRecPtr) value), value == 0);
}

void
row_add_interval(Row *row, int64 value)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = value;
	add(row, INTERVALOID, IntervalPGetDatum(interval), false);
}

static void
end_row(Row *row)
{
	if (row->column != row->desc->natts)
		refuse_count(row);
	row->column = 0;
}

void
row_put(Row *row)
{
	end_row(row);
	tuplestore_putvalues(row->store, row->desc, row->values, row->nulls);
}

Datum
row_single(Row *row)
{
	end_row(row);
	return HeapTupleGetDatum(heap_form_tuple(row->desc, row->values, row->nulls));
}
