# ese_stop_backup_instance() in every phase: the calls after it fail with
# J0801 and nothing is left behind.
use strict;
use warnings;

use EseClient;
use EseTest;
use IO::Select;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "checkpoint_timeout = 1h\ncheckpoint_completion_target = 0.99\nfull_page_writes = off\nautovacuum = off\n");
my $data = $node->data_dir;

# a sparse file of 1 GiB, and a database to read
truncate_file("$data/large", 1024 * 1024 * 1024);
$node->command_ok([ 'pgbench', '-i', '-s', '2', '-q', 'postgres' ], 'pgbench data');
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $other = EseClient::connect_to(dsn($node));

sub truncate_file
{
	my ($path, $size) = @_;
	open(my $file, '>', $path) or die;
	truncate($file, $size) or die;
	close($file);
	return;
}

sub begin
{
	EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)");
	return EseClient::value($dbh, "SELECT ese_backup_id($id)");
}

sub open_file
{
	my ($name) = @_;
	return ($dbh->selectrow_array('SELECT * FROM ese_open_file_instance(?, ?)', undef, $id, $name))[0];
}

sub stop { return EseClient::value($other, "SELECT ese_stop_backup_instance($id)"); }

sub end_backup
{
	my ($grbit) = @_;
	local $dbh->{PrintWarn} = 0;
	return EseClient::value($dbh, 'SELECT ese_end_external_backup_instance(?, ?)', $id, $grbit // 1);
}

# What every call gets after a stop; the handle may be undef.
sub all_stopped
{
	my ($name, $handle) = @_;
	fails_with($dbh, 'J0801', "SELECT ese_get_attach_info_instance($id)", "$name: GetAttachInfo");
	fails_with($dbh, 'J0801', "SELECT ese_open_file_instance($id, 'PG_VERSION')", "$name: OpenFile");
	fails_with($dbh, 'J0801', "SELECT ese_open_file_instance($id, 'nonsense')", "$name: OpenFile of nothing");
	fails_with($dbh, 'J0801', "SELECT ese_read_file_instance($id, " . ($handle // 1) . ")", "$name: ReadFile");
	fails_with($dbh, 'J0801', "SELECT ese_get_log_info_instance($id)", "$name: GetLogInfo");
	fails_with($dbh, 'J0505', "SELECT ese_begin_external_backup_instance($id)", "$name: Begin");
	fails_with($dbh, 'J1003', "SELECT ese_close_file_instance($id, 1)", "$name: CloseFile of no handle");
	is(EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)"), 0, "$name: CloseFile") if $handle;
	return;
}

sub receipt
{
	my ($backup, $status, $name) = @_;
	# what was held is released after the stop has returned
	wait_for($node, "SELECT released_at IS NOT NULL FROM ese_backup_history WHERE backup_id = $backup");
	is($node->safe_psql('postgres', "SELECT status, stop_cause, error_number, error_name, stop_requested_by IS NOT NULL,
			stop_requested_at <= quiescent_at, quiescent_at <= released_at, stop_latency = quiescent_at - stop_requested_at
		FROM ese_backup_history WHERE backup_id = $backup"),
		"$status|user|-801|JET_errBackupAbortByServer|t|t|t|t", "$name: the receipt");
	return;
}

# ---- ids that stop nothing
fails_with($dbh, 'J1003', 'SELECT ese_stop_backup_instance(NULL)');
fails_with($dbh, 'J1003', 'SELECT ese_stop_backup_instance(4711)');
fails_with($dbh, 'J1003', 'SELECT ese_stop_backup_instance(-1)');
fails_with($dbh, 'J1003', 'SELECT ese_stop_backup_instance(0)');
my $created = $node->safe_psql('postgres', "SELECT ese_create_instance('created')");
fails_with($dbh, 'J1003', "SELECT ese_stop_backup_instance($created)", 'an instance that never ran');
$node->safe_psql('postgres', "SELECT ese_init($created), ese_term($created)");
fails_with($dbh, 'J1003', "SELECT ese_stop_backup_instance($created)", 'a terminated one');

# ---- without a backup: success, and the next Begin is clean
is(stop(), 0, 'a stop without a backup succeeds');
my $backup = begin();
ok(EseClient::value($dbh, "SELECT count(*) FROM ese_get_attach_info_instance($id)") > 900, 'and leaves nothing behind');

# ---- in the databases phase, while a session waits for nothing
my $handle = open_file('large');
is(length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle)")), 262144, 'reading 1 GiB');
fails_with($other, 'J0520', "SELECT ese_stop_backup_instance($id, true, 4711)", 'a stop of another backup');
is(stop(), 0, 'stop');
is(stop(), 0, 'stop again');
wait_for($node, 'SELECT count(*) = 0 FROM pg_replication_slots');
pass('the slot is gone before End');
receipt($backup, 'stopped', 'databases phase');
all_stopped('databases phase', $handle);
is(end_backup(), -801, 'End(Normal) says -801');
receipt($backup, 'aborted by server', 'databases phase, ended');
fails_with($dbh, 'J0520', "SELECT ese_end_external_backup_instance($id)", 'End again');
nothing_held($node, 'databases phase');

# ---- End(Abort) after a stop
$backup = begin();
stop();
is(end_backup(2), 0, 'End(Abort) after a stop');
receipt($backup, 'aborted by server', 'whichever bit End has');

# ---- the error itself
begin();
stop();
eval { $dbh->do("SELECT ese_get_attach_info_instance($id)") };
like($@, qr/the backup of instance "main" was stopped by the server.*DETAIL:  JET_errBackupAbortByServer \(-801\).*HINT:  End the backup/s,
	'the error says what happened and what to do');
end_backup();

# ---- in the logs phase, with a log open
$backup = begin();
my $log = EseClient::value($dbh, "SELECT file_name FROM ese_get_log_info_instance($id) WHERE kind = 'log' LIMIT 1");
$handle = open_file($log);
is(length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle)")), 262144, 'reading a log');
stop();
all_stopped('logs phase', $handle);
is(end_backup(), -801, 'End');
receipt($backup, 'aborted by server', 'logs phase');

# ---- while Begin waits for a spread checkpoint
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_checkpoint', 'spread')");
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT generate_series(1, 200000) AS a');
$dbh->do("SELECT ese_begin_external_backup_instance($id)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'starting'");
fails_with($other, 'J0505', "SELECT ese_begin_external_backup_instance($id)", 'a second Begin is refused at once');
is(stop(), 0, 'stop while Begin waits');
ok(!eval { $dbh->pg_result; 1 }, 'Begin fails');
is($dbh->state, 'J0801', 'with J0801');
is(EseClient::value($dbh, "SELECT ese_backup_id($id)"), undef, 'and no backup is open');
$backup = $node->safe_psql('postgres', 'SELECT max(backup_id) FROM ese_backup_history');
receipt($backup, 'aborted by server', 'starting');
nothing_held($node, 'starting');

# ---- the caller of such a Begin is cancelled: no backup stays open
$dbh->do("SELECT ese_begin_external_backup_instance($id)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'starting'");
$other->do("SELECT pg_cancel_backend($dbh->{pg_pid})");
ok(!eval { $dbh->pg_result; 1 }, 'Begin is cancelled');
is($dbh->state, '57014', 'with 57014');
wait_for($node, "SELECT count(*) = 0 FROM ese_backup_progress");
is($node->safe_psql('postgres', 'SELECT status FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'aborted by caller', 'the history says so');
nothing_held($node, 'cancelled Begin');

# ... even when the worker has just answered
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_checkpoint', 'fast')");
my $late = EseClient::connect_to(dsn($node));
set_test_points($node, 'call.answered=wait', $late);
$late->do("SELECT ese_begin_external_backup_instance($id)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'databases'");
$other->do("SELECT pg_cancel_backend($late->{pg_pid})");
ok(!eval { $late->pg_result; 1 }, 'a Begin is cancelled after it has succeeded');
wait_for($node, "SELECT count(*) = 0 FROM ese_backup_progress");
set_test_points($node, '');
$late->disconnect;
nothing_held($node, 'uncollected Begin');

# ---- while a reader waits for a frame: the ring stays empty
$backup = begin();
$handle = open_file('large');
set_test_points($node, 'engine.read=hold');
EseClient::value($dbh, "SELECT length(ese_read_file_instance($id, $handle, 1048576))");
$dbh->do("SELECT ese_read_file_instance($id, $handle, 16777216)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $dbh->{pg_pid} AND wait_event_type = 'Extension'");
is(stop(), 0, 'stop while a reader waits');
ok(!eval { $dbh->pg_result; 1 }, 'its read fails');
is($dbh->state, 'J0801', 'with J0801');
set_test_points($node, '');
is(end_backup(), -801, 'End');
receipt($backup, 'aborted by server', 'a reader that waits');
nothing_held($node, 'a reader that waits');

# ---- between copying and returning: the read must not succeed any more
begin();
$handle = open_file('large');
set_test_points($node, 'read.copied=wait', $dbh);
$dbh->do("SELECT ese_read_file_instance($id, $handle)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $dbh->{pg_pid} AND wait_event_type = 'Extension'");
stop();
ok(!$dbh->pg_ready, 'the reader is held where it has copied');
set_test_points($node, '');
ok(!eval { $dbh->pg_result; 1 }, 'what it has copied is not returned');
is($dbh->state, 'J0801', 'but J0801');
fails_with($dbh, 'J0801', "SELECT ese_read_file_instance($id, $handle)", 'nor later');
end_backup();

# ---- full rings that nobody reads
$backup = begin();
open_file($_) for ('large', map { $_->[0] } @{ $dbh->selectall_arrayref(
	"SELECT file_name FROM ese_get_attach_info_instance($id) WHERE file_size > 1000000 AND file_name <> 'large' LIMIT 10") });
is(stop(), 0, 'stop with full rings');
is(end_backup(), -801, 'End closes all handles');
receipt($backup, 'aborted by server', 'full rings');
nothing_held($node, 'full rings');

# ---- a rate limit
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_max_rate', '64kB')");
$backup = begin();
$handle = open_file('large');
EseClient::value($dbh, "SELECT length(ese_read_file_instance($id, $handle, 8192))");
$dbh->do("SELECT ese_read_file_instance($id, $handle, 16777216)", { pg_async => 1 });
is(stop(), 0, 'stop while the rate limit holds');
ok(!eval { $dbh->pg_result; 1 }, 'its read fails');
is($dbh->state, 'J0801', 'with J0801');
end_backup();
receipt($backup, 'aborted by server', 'rate limit');
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_max_rate', 'default')");

# ---- by a role with EXECUTE on nothing else
$node->safe_psql('postgres', 'CREATE ROLE stopper LOGIN; GRANT EXECUTE ON FUNCTION ese_stop_backup_instance(integer, boolean, bigint) TO stopper');
$backup = begin();
$node->safe_psql('postgres', "SELECT ese_stop_backup_instance($id)", extra_params => [ '-U', 'stopper' ]);
is($node->safe_psql('postgres', "SELECT stop_requested_by FROM ese_backup_history WHERE backup_id = $backup"),
	'stopper', 'a role that may only stop');
end_backup();

# ---- Term
begin();
fails_with($dbh, 'J0505', "SELECT ese_term($id)", 'Term with a backup open');
is(EseClient::value($dbh, "SELECT count(*) > 0 FROM ese_get_attach_info_instance($id)"), 1, 'changes nothing');
is(EseClient::value($dbh, "SELECT ese_term($id, ese_grbit('JET_bitTermStopBackup'))"), 0, 'Term with JET_bitTermStopBackup');
is($node->safe_psql('postgres', 'SELECT status, stop_cause, error_number FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'aborted by server|term|-801', 'ends it');
fails_with($dbh, 'J1029', "SELECT ese_begin_external_backup_instance($id)", 'a stopped instance takes no calls');
is(EseClient::value($dbh, "SELECT ese_init($id)"), 0, 'and can be started again');

# ---- Term while Begin waits for its checkpoint
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_checkpoint', 'spread')");
$node->safe_psql('postgres', 'UPDATE t SET a = a + 1');
$dbh->do("SELECT ese_begin_external_backup_instance($id)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'starting'");
fails_with($other, 'J0505', "SELECT ese_term($id)", 'Term while Begin waits is refused at once');
is(EseClient::value($other, "SELECT ese_term($id, 4)"), 0, 'or ends it');
ok(!eval { $dbh->pg_result; 1 } && $dbh->state eq 'J0801', 'Begin fails with J0801');
is($node->safe_psql('postgres', 'SELECT stop_cause FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'), 'term', 'the history says why');
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_checkpoint', 'default'), ese_init($id)");

# ---- afterwards a whole backup works
unlink("$data/large");
EseClient::backup(dsn($node), $id, PostgreSQL::Test::Utils::tempdir() . '/backup', sessions => 2);
pass('the next backup is good');
nothing_held($node, 'in the end');

done_testing();
