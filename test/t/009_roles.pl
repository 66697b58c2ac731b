# The README's GRANT blocks, as written; who sees what; every object has a
# comment.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $id = start_instance($node, 'main');
my $readme = slurp_file('README.md');
my %blocks;
while ($readme =~ /<!-- grant: (\w+) -->\n```sql\n(.*?)```/gs)
{
	$blocks{$1} = $2;
	$node->safe_psql('postgres', $2);
}
is(join(' ', sort keys %blocks), 'operator reader stopper', 'the README has these GRANT blocks');

sub as { return EseClient::connect_to(dsn($node), user => $_[0]); }
my $operator = as('backup_operator');
my $reader = as('backup_reader');
my $stopper = as('backup_stopper');
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
my $nobody = as('nobody');
$_->{PrintWarn} = 0, $_->do('SET client_min_messages = error') for ($operator, $reader, $stopper, $nobody);

# ---- the operator does everything
is(error_of($operator, "SELECT ese_create_instance('second')"), '00000', 'the operator creates an instance');
my $second = EseClient::value($operator, "SELECT ese_instance_id('second')");
is(error_of($operator, "SELECT $_"), '00000', "the operator: $_")
  for ("ese_init($second)", "ese_term($second)", "ese_set_system_parameter($second, 'backup_threads', '1')", "ese_drop_instance($second)",
	"ese_begin_external_backup_instance($id)", "count(*) FROM ese_get_attach_info_instance($id)");

# ---- the reader reads what was begun for it, and no more
is(error_of($reader, "SELECT count(*) FROM ese_get_attach_info_instance($id)"), '00000', 'the reader lists');
my ($handle) = $reader->selectrow_array("SELECT * FROM ese_open_file_instance($id, 'PG_VERSION')");
is(error_of($reader, "SELECT $_"), '00000', "the reader: $_")
  for ("ese_read_file_instance($id, $handle)", "ese_close_file_instance($id, $handle)", "count(*) FROM ese_get_log_info_instance($id)");
is(error_of($reader, "SELECT $_"), '42501', "the reader may not: $_")
  for ("ese_begin_external_backup_instance($id)", "ese_end_external_backup_instance($id)", "ese_stop_backup_instance($id)", "ese_term($id)",
	"ese_create_instance('x')");

# ---- what is private
my $columns = 'label IS NOT NULL, application_name IS NOT NULL';
$operator->do("SET application_name = 'x'");
is($node->safe_psql('postgres', "SELECT begun_by FROM ese_backup_progress"), 'backup_operator', 'who began it');
is(EseClient::value($nobody, "SELECT count(*) FROM ese_backup_progress WHERE client_addr IS NOT NULL OR application_name IS NOT NULL"), 0,
	'client columns are hidden from others');
$operator->do("SELECT ese_open_file_instance($id, 'backup_label')");
is(EseClient::value($nobody, 'SELECT count(file_name) FROM ese_backup_handle'), 0, 'file names too');
is(EseClient::value($operator, 'SELECT count(file_name) FROM ese_backup_handle'), 1, 'but not from who began the backup');

# ---- the stopper stops
is(error_of($stopper, "SELECT ese_stop_backup_instance($id)"), '00000', 'the stopper stops');
is(error_of($stopper, "SELECT ese_end_external_backup_instance($id)"), '42501', 'and does not end');
is(EseClient::value($nobody, 'SELECT count(reason) FROM ese_backup_history'), 0, 'reasons are hidden as well');
is(error_of($operator, "SELECT ese_end_external_backup_instance($id)"), '00000', 'the operator ends');

# ---- EXECUTE alone is not enough to read
$node->safe_psql('postgres', 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO nobody');
is(error_of($nobody, "SELECT $_"), '42501', "without the privilege to read files: $_")
  for ("ese_begin_external_backup_instance($id)", "ese_get_attach_info_instance($id)", "ese_open_file_instance($id, 'PG_VERSION')", "ese_get_log_info_instance($id)");
$node->safe_psql('postgres', 'ALTER ROLE nobody REPLICATION');
is(error_of($nobody, "SELECT ese_begin_external_backup_instance($id)"), '00000', 'REPLICATION is enough');
is(error_of($nobody, "SELECT ese_end_external_backup_instance($id, 2)"), '00000', 'End');

# ---- what PUBLIC may execute
is($node->safe_psql('postgres', <<'SQL'), 'ese_check ese_error_name ese_grbit ese_instance_id', 'PUBLIC may execute look-ups only');
SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
  JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e'
 WHERE e.extname = 'ese' AND proname !~ '_rows$'
   AND (proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0))
SQL

# ---- comments
is($node->safe_psql('postgres', <<'SQL'), '', 'every function and view has a comment');
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
 WHERE e.extname = 'ese' AND d.deptype = 'e' AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
   AND obj_description(d.objid, d.classid::regclass::name) IS NULL
SQL
is($node->safe_psql('postgres', <<'SQL'), '', 'every column of a view has a comment');
SELECT a.attrelid::regclass || '.' || attname FROM pg_attribute a JOIN pg_depend d ON d.objid = a.attrelid AND d.classid = 'pg_class'::regclass
  JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'ese' AND d.deptype = 'e' AND attnum > 0
   AND col_description(attrelid, attnum) IS NULL
SQL

# ---- the README's reference names every function, view and parameter
my $names = $node->safe_psql('postgres', <<'SQL');
SELECT DISTINCT coalesce(p.proname, c.relname) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
  LEFT JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass LEFT JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
 WHERE e.extname = 'ese' AND d.deptype = 'e' AND coalesce(p.proname, c.relname) !~ '_rows$'
UNION ALL SELECT DISTINCT name FROM ese_system_parameter
SQL
is(join(' ', grep { $readme !~ /`$_[`(]/ } split(/\n/, $names)), '', 'the README describes every function, view and parameter');

done_testing();
