# Instances: definitions survive, ids are never reused, limits are told.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- not preloaded: every function says so
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->safe_psql('postgres', 'CREATE EXTENSION ese');
my $dbh = EseClient::connect_to(dsn($plain));
for my $call ("ese_create_instance('a')", 'ese_drop_instance(1)', "ese_instance_id('a')", 'ese_init(1)', 'ese_term(1)',
	"ese_set_system_parameter(1, 'a', 'b')", "ese_get_system_parameter(1, 'a')", 'ese_begin_external_backup_instance(1)',
	'ese_backup_id(1)', 'ese_get_attach_info_instance(1)', "ese_open_file_instance(1, 'a')", 'ese_read_file_instance(1, 1)',
	'ese_close_file_instance(1, 1)', 'ese_get_log_info_instance(1)', 'ese_end_external_backup_instance(1)',
	'ese_stop_backup_instance(1)')
{
	like(fails_with($dbh, '55000', "SELECT $call", "not preloaded: $call"), qr/shared_preload_libraries/, 'says how to fix it');
}
fails_with($dbh, '55000', "SELECT * FROM $_", "not preloaded: $_")
  for qw(ese_instance ese_system_parameter ese_backup_progress ese_backup_handle ese_backup_history ese_checksum_failure ese_stream_buffers);
is($plain->safe_psql('postgres', "SELECT ese_error_name(-801), ese_grbit('JET_bitBackupEndAbort')"),
	'JET_errBackupAbortByServer|2', 'look-ups work all the same');
$plain->stop;

# ---- definitions, parameters and running instances survive a restart
my $node = new_node('main', conf => "ese.max_instances = 3\nmax_worker_processes = 9\n");
my $data = $node->data_dir;
my $one = start_instance($node, 'one', backup_max_rate => '10MB', backup_idle_timeout => '90min', verify_checksums => 'report');
my $two = start_instance($node, 'two', auto_start => 'off');
my $three = $node->safe_psql('postgres', "SELECT ese_create_instance('three', 'The third')");
$dbh = EseClient::connect_to(dsn($node));
like(fails_with($dbh, 'J1214', "SELECT ese_create_instance('one')", 'too many instances, even for a name in use'),
	qr/ese\.max_instances/, 'names the setting');
is($node->safe_psql('postgres', "SELECT ese_create_instance('one', if_not_exists => true)"), $one, 'if_not_exists gives the id');
my $states = 'SELECT instance_id, name, display_name, state FROM ese_instance ORDER BY 1';
$node->restart;
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $one");
is($node->safe_psql('postgres', $states), "$one|one||running\n$two|two||stopped\n$three|three|The third|stopped",
	'after a restart what ran runs, unless auto_start is off');
is($node->safe_psql('postgres', "SELECT ese_get_system_parameter($one, 'backup_max_rate'), ese_get_system_parameter($one, 'backup_idle_timeout'),
	ese_get_system_parameter($one, 'verify_checksums')"), '10MB|90min|report', 'with its parameters');
is($node->safe_psql('postgres', "SELECT ese_instance_id('three')"), $three, 'and its id');

# ---- ids are never reused
$node->safe_psql('postgres', "SELECT ese_drop_instance($three)");
my $four = $node->safe_psql('postgres', "SELECT ese_create_instance('three')");
ok($four > $three, 'an id is not reused');
$node->safe_psql('postgres', "SELECT ese_drop_instance($four)");
$node->restart;
ok($node->safe_psql('postgres', "SELECT ese_create_instance('three')") > $four, 'not even after a restart');
my $last = $node->safe_psql('postgres', "SELECT ese_instance_id('three')");
$dbh = EseClient::connect_to(dsn($node));
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $one");
fails_with($dbh, 'J1030', "SELECT ese_drop_instance($one)", 'a running instance is not dropped');
fails_with($dbh, 'J1030', "SELECT ese_init($one)", 'nor started twice');
is(EseClient::value($dbh, "SELECT ese_init($one, true)"), 0, 'unless if_stopped is given');
fails_with($dbh, 'J1086', do { $node->safe_psql('postgres', "SELECT ese_drop_instance($last)"); "SELECT ese_create_instance('one')" }, 'a name in use');

# ---- parameters: when they may change
is(error_of($dbh, "SELECT ese_set_system_parameter($one, 'max_open_files', '8')"), 'J1030', 'not while it runs');
is(error_of($dbh, "SELECT ese_set_system_parameter($one, 'max_open_files', '16')"), '00000', 'unless the value is the same');
$dbh->do("SELECT ese_begin_external_backup_instance($one)");
is(error_of($dbh, "SELECT ese_set_system_parameter($one, 'verify_checksums', 'off')"), 'J1030', 'not while a backup is open');
is(error_of($dbh, "SELECT ese_set_system_parameter($one, 'backup_max_rate', '20MB')"), '00000', 'at any time');
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($one, 2)");
is(error_of($dbh, "SELECT ese_set_system_parameter($one, 'circular_log', 'off')"), 'J1030', 'circular_log only while stopped');
is(error_of($dbh, "SELECT ese_set_system_parameter($two, 'circular_log', '$_')"), '00000', "then $_") for qw(off on);
for my $bad ([ 'backup_threads', '0' ], [ 'backup_threads', '65' ], [ 'backup_threads', 'x' ], [ 'backup_idle_timeout', '-1' ],
	[ 'backup_max_rate', '1XB' ], [ 'backup_max_rate', '-1' ], [ 'backup_max_rate', '9999999999999TB' ], [ 'verify_checksums', 'maybe' ],
	[ 'auto_start', '2x' ], [ 'history_limit', '0' ], [ 'nonsense', '1' ])
{
	fails_with($dbh, 'J1003', "SELECT ese_set_system_parameter($two, '$bad->[0]', '$bad->[1]')");
}

# ---- the history keeps its newest rows
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($one, 'history_limit', '3')");
for (1 .. 5)
{
	$dbh->do("SELECT ese_begin_external_backup_instance($one, 0, 'row $_')");
	EseClient::value($dbh, "SELECT ese_end_external_backup_instance($one, 2)");
}
is($node->safe_psql('postgres', "SELECT string_agg(label, ',' ORDER BY backup_id) FROM ese_backup_history WHERE instance_id = $one"),
	'row 3,row 4,row 5', 'history_limit');

# ---- no free worker slot
$node->safe_psql('postgres', "ALTER SYSTEM SET max_worker_processes = 3");
$node->restart;
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $one");
$dbh = EseClient::connect_to(dsn($node));
my $message = '';
for my $name ('a', 'b')
{
	my $id = $node->safe_psql('postgres', "SELECT ese_create_instance('$name', if_not_exists => true)") if $name eq 'a';
	$id //= $two;
	$message = $dbh->errstr, last if error_of($dbh, "SELECT ese_init($id)") eq 'J0103';
}
like($message, qr/max_worker_processes/, 'out of worker slots: max_worker_processes is named');
$node->safe_psql('postgres', "ALTER SYSTEM RESET max_worker_processes");
$node->restart;

# ---- a torn, a foreign and a copied ese/
$node->stop;
my $state = slurp_file("$data/ese/state");
sub write_state
{
	my ($bytes) = @_;
	open(my $file, '>:raw', "$data/ese/state") or die;
	print $file $bytes;
	close($file);
	return;
}
for my $case ([ substr($state, 0, 100), 'length is wrong' ], [ substr($state, 0, 10), 'too short' ], [ 'x' x 500, 'not a file of this extension' ],
	[ substr($state, 0, 60) . '!' . substr($state, 61), 'checksum is wrong' ])
{
	write_state($case->[0]);
	$node->start;
	my (undef, undef, $stderr) = $node->psql('postgres', 'SELECT * FROM ese_instance');
	like($stderr, qr/cannot use file "ese\/state": .*$case->[1]/, "state file: $case->[1]");
	$node->stop;
}
write_state($state);
$node->start;
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $one");
pass('put back, all is well again');
my $history = slurp_file("$data/ese/history.$one");
{
	open(my $file, '>:raw', "$data/ese/history.$one") or die;
	print $file substr($history, 0, 200);
}
$node->safe_psql('postgres', "SELECT ese_term($one)");
$dbh = EseClient::connect_to(dsn($node));
like(fails_with($dbh, 'J1090', "SELECT ese_init($one)", 'an instance with a torn history does not start'),
	qr/cannot use file "ese\/history\.$one"/, 'and ese_init says why');
{
	open(my $file, '>:raw', "$data/ese/history.$one") or die;
	print $file $history;
}
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $one");
pass('put back, it starts by itself');
my $offset = -s $node->logfile;
$node->stop;
rename($data, "$data.original");
system_or_bail('cp', '-a', "$data.original", $data);
$node->start;
is($node->safe_psql('postgres', "SELECT count(*) FROM ese_instance WHERE state <> 'stopped'"), 0, 'in a copied data directory instances load stopped');
like(slurp_file($node->logfile, $offset), qr/defined in another data directory/, 'and the log says why');
is($node->safe_psql('postgres', "SELECT ese_init($one)"), 0, 'they can be started');
$node->restart;
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $one");
pass('and then belong to it');

done_testing();
