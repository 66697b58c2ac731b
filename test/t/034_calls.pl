# Calls and those who make them: what watches a backup never ends it, a cancel
# that belongs to nobody ends nothing, and no call holds back VACUUM.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();

sub session
{
	my (@settings) = @_;
	my $session = EseClient::connect_to(dsn($node));
	$session->do("SET $_") for @settings;
	return $session;
}

# A session that has begun a statement, and waits in it.
sub waiting
{
	my ($session, $sql) = @_;
	$session->do($sql, { pg_async => 1 });
	wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $session->{pg_pid} AND state = 'active' AND wait_event_type = 'Extension'");
	return $session;
}

# The SQLSTATE with which it ends.
sub state_of
{
	my ($session) = @_;
	return eval { $session->pg_result; 1 } ? '00000' : $session->state;
}

# A worker that waits at a test point goes on, to wait at others.
sub let_go
{
	my ($points) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET ese.test_points = '$points'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

sub cancel { return EseClient::value($dbh, "SELECT pg_cancel_backend($_[0]{pg_pid})"); }
sub wait_for_end { return eval { $dbh->do("CALL ese_wait_backup($id)"); 1 } ? '00000' : $dbh->state; }
sub worker { return EseClient::value($dbh, "SELECT worker_pid FROM ese_instance WHERE instance_id = $id"); }

# ---- nobody holds a snapshot
EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)");
my $stream = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
for my $level ('repeatable read', 'serializable')
{
	my $session = session("default_transaction_isolation = '$level'");
	for my $call ("ese_wait_backup($id)", "ese_copy_stream($id, $stream)")
	{
		like(fails_with($session, '0A000', "CALL $call", "$level: CALL $call"),
			qr/at isolation level "$level".*HINT:  SET default_transaction_isolation/s, 'says what to do');
	}
}
my $watcher = waiting(session(), "CALL ese_wait_backup($id)");
is($node->safe_psql('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $watcher->{pg_pid}"), 't',
	'who waits holds back no VACUUM');

# ---- who watches ends nothing, whatever ends the wait
cancel($watcher);
is(state_of($watcher), '57014', 'a cancelled wait');
is(EseClient::value($dbh, "SELECT count(*) > 900 FROM ese_get_attach_info_instance($id)"), 1, 'leaves a backup over SQL alone');
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");

set_test_points($node, 'engine.read=hold', $dbh);
$dbh->do("SELECT ese_backup_instance($id, '$work/watched', wait => false)");
for my $how (sub { cancel($_[0]) }, sub { EseClient::value($dbh, "SELECT pg_terminate_backend($_[0]{pg_pid})") })
{
	$watcher = waiting(session(), "CALL ese_wait_backup($id)");
	$how->($watcher);
	isnt(state_of($watcher), '00000', 'a wait is ended');
}
is(EseClient::value($dbh, 'SELECT stop_requested FROM ese_backup_progress'), 0, 'the backup is not stopped');
set_test_points($node, '');
is(wait_for_end(), '00000', 'and ends well');

# ---- but who cancels the call that began it, stops it
set_test_points($node, 'engine.read=hold, wait.own=wait', $dbh);
my $offset = -s $node->logfile;
my $owner = waiting(session(), "SELECT ese_backup_instance($id, '$work/owned')");
$node->wait_for_log(qr/waiting at test point "wait.own"/, $offset);
cancel($owner);
is(state_of($owner), '57014', 'the call that began a backup is cancelled');
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is(last_row($node, 'status, stop_cause, reason, stop_requested_by IS NOT NULL'),
	'aborted by server|user|the call that began it was cancelled|t', 'which stops it');
set_test_points($node, '');

# ---- a backup is refused for its destination: the history has it
mkdir("$work/full");
append_to_file("$work/full/file", 'x');
for my $wait ('true', 'false')
{
	my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM ese_backup_history');
	fails_with($dbh, 'J0504', "SELECT ese_backup_instance($id, '$work/full', wait => $wait, label => 'nightly')", "a full directory, wait => $wait");
	is($node->safe_psql('postgres', "SELECT count(*) - $rows FROM ese_backup_history"), 1, 'leaves one row, whoever waits');
}
is(last_row($node, 'status, error_number, label, location, begun_by IS NOT NULL, ended_at IS NOT NULL, length(reason) > 0'),
	"failed|-504|nightly|$work/full|t|t|t", 'with what was refused, and why');

# ---- while it starts: the same; a timeout is no cancel
my $rounds = 0;

# A session whose Begin waits.
sub starting
{
	my ($session, $begin) = @_;
	set_test_points($node, 'begin.start=wait, round=' . ++$rounds);
	$offset = -s $node->logfile;
	waiting($session, "SELECT $begin");
	$node->wait_for_log(qr/waiting at test point "begin.start"/, $offset);
	return $session;
}

$owner = starting(session(), "ese_backup_instance($id, '$work/owned')");
cancel($owner);
is(state_of($owner), '57014', 'cancelled while it starts');
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is(last_row($node, 'status, error_number, reason'),
	'aborted by caller|-800|the session that began the backup left before it had begun', 'which ends it');
for my $wait ('true', 'false')
{
	$owner = starting(session("statement_timeout = '1s'"), "ese_backup_instance($id, '$work/timeout_$wait', wait => $wait)");
	is(state_of($owner), '57014', "a timeout while it starts, wait => $wait");
	is(EseClient::value($dbh, 'SELECT phase FROM ese_backup_progress'), 'starting', 'leaves it alone');
	let_go('');
	is(wait_for_end(), '00000', 'and it ends well');
	is(last_row($node, 'status, location'), "completed|$work/timeout_$wait", 'the history says so');
}

# ---- a cancel that belongs to nobody: a late one, or pg_cancel_backend()
for my $begin ("ese_begin_external_backup_instance($id)", "ese_backup_instance($id, '$work/again')")
{
	my $streaming = $begin =~ /external/ ? 1 : 0;
	$owner = starting(session(), $begin);
	my $backup = EseClient::value($dbh, 'SELECT backup_id FROM ese_backup_progress');
	$offset = -s $node->logfile;
	EseClient::value($dbh, 'SELECT pg_cancel_backend(?)', worker());
	$node->wait_for_log(qr/waiting at test point "begin.start"/, $offset);
	let_go('');
	is(state_of($owner), '00000', "$begin starts again");
	is(EseClient::value($dbh, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'esebk%'"), $streaming, 'with one slot');
	EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)") if $streaming;
	is(last_row($node, 'backup_id'), $backup, 'it is the same backup');
}

# ---- a stop while it starts
$owner = starting(session(), "ese_begin_external_backup_instance($id)");
EseClient::value($dbh, "SELECT ese_stop_backup_instance($id)");
is(state_of($owner), 'J0801', 'a stop while it starts');
is(wait_for_end(), 'J0801', 'is its end');
let_go('');
nothing_held($node, 'in the end');

done_testing();
