# The README's GRANT blocks, as written; who sees what; every object has a
# comment.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "max_connections = 30\n");
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

# ---- every function, for every kind of role: what its EXECUTE needs beside it
#
# public: nothing, not even EXECUTE; execute: no more; read: the privilege to
# read a backup; files: to read files of the server and to write them; write: to
# read a backup and to write files.  The arguments are such that nothing comes
# of a call that is allowed.
my %needs = (
	"ese_backup_id($id)" => 'execute',
	"ese_backup_instance($id, 'relative')" => 'write',
	"ese_begin_external_backup_instance($id, 4)" => 'read',
	'ese_check(0)' => 'public',
	"ese_check_instance($id)" => 'execute',
	"ese_close_file_instance($id, 1)" => 'read',
	"ese_copy_stream($id, 1)" => 'read',
	"ese_create_instance('No Name')" => 'execute',
	'ese_drop_instance(-1)' => 'execute',
	"ese_end_external_backup_instance($id)" => 'read',
	'ese_error_name(0)' => 'public',
	"ese_get_attach_info_instance($id)" => 'read',
	'ese_get_instance_info()' => 'execute',
	"ese_get_log_info_instance($id)" => 'read',
	"ese_get_system_parameter($id, 'none')" => 'execute',
	"ese_get_truncate_log_info_instance($id)" => 'read',
	"ese_grbit('JET_bitTermComplete')" => 'public',
	"ese_init($id)" => 'execute',
	"ese_instance_id('main')" => 'public',
	"ese_open_file_instance($id, 'PG_VERSION')" => 'read',
	"ese_open_stream_instance($id)" => 'read',
	"ese_read_file_instance($id, 1)" => 'read',
	"ese_read_stream_instance($id, 1)" => 'read',
	"ese_restore_instance($id, 'relative', 'relative')" => 'files',
	"ese_resume_stream_instance($id, 1, 0)" => 'read',
	"ese_set_system_parameter($id, 'none', '')" => 'execute',
	"ese_stop_backup_instance($id)" => 'execute',
	'ese_term(-1)' => 'execute',
	"ese_truncate_log_instance($id)" => 'read',
	"ese_unread_files($id)" => 'read',
	"ese_verify_backup($id, 'relative')" => 'files',
	"ese_wait_backup($id, 1, '-1s')" => 'execute');
my %may = (
	outsider => ['public'],
	executor => [ 'public', 'execute' ],
	replicator => [ 'public', 'execute', 'read' ],
	file_reader => [ 'public', 'execute', 'read' ],
	file_writer => [ 'public', 'execute' ],
	not_inheriting => [ 'public', 'execute' ],
	replicating_writer => [ 'public', 'execute', 'read', 'write' ],
	all_rights => [ 'public', 'execute', 'read', 'write', 'files' ]);
my $functions = $node->safe_psql('postgres', <<'SQL');
SELECT string_agg(proname || ':' || prokind::text, ' ' ORDER BY proname) FROM pg_proc p
  JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e'
 WHERE e.extname = 'ese' AND proname !~ '_rows$'
SQL
my %kind = map { split(/:/) } split(/ /, $functions);
is(join(' ', sort map { /^(\w+)/ } keys %needs), join(' ', sort keys %kind), 'the matrix has every function of the extension');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE outsider LOGIN;
CREATE ROLE executors;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA public TO executors;
CREATE ROLE executor LOGIN IN ROLE executors;
CREATE ROLE replicator LOGIN REPLICATION IN ROLE executors;
CREATE ROLE file_reader LOGIN IN ROLE executors, pg_read_server_files;
CREATE ROLE file_writer LOGIN IN ROLE executors, pg_write_server_files;
CREATE ROLE replicating_writer LOGIN REPLICATION IN ROLE executors, pg_write_server_files;
CREATE ROLE all_rights LOGIN IN ROLE executors, pg_read_server_files, pg_write_server_files;
CREATE ROLE not_inheriting LOGIN NOINHERIT IN ROLE pg_read_server_files, pg_write_server_files;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA public TO not_inheriting;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
SQL
for my $role (sort keys %may)
{
	my $dbh = as($role);
	$dbh->do('SET client_min_messages = error');
	my @wrong;
	for my $call (sort keys %needs)
	{
		my ($name) = $call =~ /^(\w+)/;
		my $allowed = grep { $_ eq $needs{$call} } @{ $may{$role} };
		my $state = error_of($dbh, $kind{$name} eq 'p' ? "CALL $call" : "SELECT $call");
		push @wrong, "$call: $state" if ($state ne '42501') != $allowed;
	}
	is(join(', ', @wrong), '', "what the $role may call");
}
my $views = $node->safe_psql('postgres', <<'SQL');
SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
  JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e' WHERE e.extname = 'ese'
SQL
my $outsider = as('outsider');
is(error_of($outsider, "SELECT * FROM $_"), '00000', "everyone may look at $_") for split(/ /, $views);

# ---- nobody reads through what somebody else has opened
my $admin = EseClient::connect_to(dsn($node));
my $executor = as('executor');
EseClient::value($admin, "SELECT ese_begin_external_backup_instance($id)");
my ($opened) = $admin->selectrow_array("SELECT * FROM ese_open_file_instance($id, 'global/1260')");
is(error_of($executor, "SELECT $_"), '42501', "EXECUTE alone, with the handle of another: $_")
  for ("ese_read_file_instance($id, $opened)", "ese_close_file_instance($id, $opened)", "ese_end_external_backup_instance($id)");
$node->psql('postgres', "CALL ese_copy_stream($id, $opened)", extra_params => [ '-U', 'executor' ], stdout => \my $sent, stderr => \my $denied);
like("$sent|$denied", qr/^\|.*permission denied to read a backup/, 'and CALL ese_copy_stream sends nothing');
is(EseClient::value($executor, 'SELECT count(handle) FROM ese_backup_handle'), 0, 'the number of the handle is not shown');
is(EseClient::value($executor, 'SELECT count(*) FROM ese_backup_handle'), 1, 'though that there is one');
is(EseClient::value(as('file_reader'), 'SELECT handle FROM ese_backup_handle'), $opened, 'it is to who may read');
is(EseClient::value(as('monitor'), "SELECT file_name || ', ' || coalesce(handle::text, 'hidden') FROM ese_backup_handle"),
	'global/1260, hidden', 'who may see everything, but not read, sees the name of the file only');

# ---- no path by a side door
EseClient::value($admin, "SELECT ese_end_external_backup_instance($id, 2)");
my $source = PostgreSQL::Test::Utils::tempdir() . '/secret';
is(error_of($admin, "SELECT ese_backup_instance($id, '$source')"), '00000', 'a backup');
is(error_of($admin, "SELECT ese_restore_instance($id, '$source', '$source.restored')"), '00000', 'a restore of it');
append_to_file($node->data_dir . '/base/5/99999', "\0" x 8 . 'x' x 8184);
is(error_of($admin, "SELECT ese_backup_instance($id, '$source.damaged')"), 'J1018', 'a backup that finds a damaged page');
my $last = EseClient::value($admin, 'SELECT max(backup_id) FROM ese_backup_history');
for my $sql ("SELECT ese_stop_backup_instance($id, true, $last)", "CALL ese_wait_backup($id, $last)", "CALL ese_wait_backup($id)", "SELECT ese_term($id, 64)")
{
	error_of($executor, $sql);
	unlike($executor->errstr, qr/secret|base/, "its answer names no path: $sql");
}
error_of($admin, "CALL ese_wait_backup($id, $last)");
like($admin->errstr, qr/base.*secret/s, 'but it does to who began it');
for my $view (split(/ /, $views))
{
	my $text = EseClient::value($executor, "SELECT coalesce(string_agg(v::text, ' '), '') FROM $view v");
	unlike($text, qr/secret|base\//, "$view shows no path");
}

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

# ---- its table of errors, and ese_error: what the source raises, no more and no less
my $sources = join('', map { slurp_file($_) } glob('src/*.c src/engine/*.c'));
my %used = map { $_ => 1 } grep { $_ !~ /^JET_err(Success|Unknown)$/ } $sources =~ /\b((?:JET_)?(?:err|wrn)[A-Z][A-Za-z]+)\b/g;
my $raised = $node->safe_psql('postgres', 'SELECT name FROM ese_error WHERE raised');
is(join(' ', sort split(/\n/, $raised)), join(' ', sort keys %used), 'ese_error.raised is what the source raises');
is(join(' ', grep { $readme !~ /^\| J\d{4} \| $_ \|/m } sort keys %used), '', 'the README has every error that is raised');

done_testing();
