# Errors that could be foreseen are answers: the caller gets them as they are,
# the history has their reason and number, and the worker lives on.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nfull_page_writes = off\nmax_wal_senders = 0\nmax_replication_slots = 2\n");
my $data = $node->data_dir;
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $worker = worker();

sub worker { return $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id"); }
sub wait_for_end { return eval { $dbh->do("CALL ese_wait_backup($id)"); 1 } ? '00000' : $dbh->state; }

# It has ended with this; nothing is held, the worker is the same, and the next
# backup works.
sub survived
{
	my ($name, $row, $reason) = @_;
	is(last_row($node, 'status, stop_cause, error_number'), $row, "$name: the history has the number");
	like(last_row($node, 'reason'), $reason, "$name: and the reason");
	nothing_held($node, "$name: nothing is held");
	is(worker(), $worker, "$name: the worker lives on");
	return;
}

sub fails_as
{
	my ($state, $sql, $message, $name) = @_;
	like(fails_with($dbh, $state, $sql, $name), $message, "$name: in words");
	return;
}

# ---- no free slot
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('mine'), pg_create_physical_replication_slot('other')");
for my $begin ("ese_begin_external_backup_instance($id)", "ese_backup_instance($id, '$work/slots')", "ese_backup_instance($id, '$work/slots', wait => false)")
{
	fails_as('53400', "SELECT $begin", qr/all replication slots are in use.*HINT:/s, $begin);
	survived($begin, 'failed||-523', qr/^all replication slots are in use$/);
}
ok(!-e "$work/slots", 'nothing is left of it');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('mine'), pg_drop_replication_slot('other')");

# ---- what cannot be read
mkdir("$data/closed", 0) or die;
for my $begin ("ese_begin_external_backup_instance($id)", "ese_backup_instance($id, '$work/closed')")
{
	fails_as('J1032', "SELECT $begin", qr/could not open directory "closed": Permission denied.*HINT:  /s, "a directory: $begin");
	survived("a directory: $begin", 'failed||-1032', qr/^could not open directory "closed": Permission denied/);
}
rmdir("$data/closed");
append_to_file("$data/closed", 'x');
chmod(0, "$data/closed");
for my $begin ("ese_begin_external_backup_instance($id)", "ese_backup_instance($id, '$work/closed')")
{
	fails_as('J1032', "SELECT $begin", qr/could not open file "closed": Permission denied.*HINT:  /s, "a file: $begin");
	survived("a file: $begin", 'failed||-1032', qr/^could not open file "closed": Permission denied/);
}
chmod(0600, "$data/closed");

# one that cannot be read later
set_test_points($node, 'native.databases=wait');
my $offset = -s $node->logfile;
$dbh->do("SELECT ese_backup_instance($id, '$work/later', wait => false)", { pg_async => 1 });
$node->wait_for_log(qr/waiting at test point "native.databases"/, $offset);
chmod(0, "$data/closed");
$node->safe_psql('postgres', $_) for ("ALTER SYSTEM RESET ese.test_points", 'SELECT pg_reload_conf()');
$dbh->pg_result;
is(wait_for_end(), 'J1032', 'a file, later');
survived('a file, later', 'failed||-1032', qr/^could not open file "closed": Permission denied$/);
unlink("$data/closed");

# ---- the logs
set_test_points($node, 'logs.stopped=fail');
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
EseClient::value($dbh, "SELECT ese_close_file_instance($id, handle) FROM ese_backup_handle");
fails_as('53100', "SELECT ese_get_log_info_instance($id)", qr/failure injected/, 'GetLogInfo');
fails_as('J1808', "SELECT ese_get_log_info_instance($id)", qr/was stopped by the server.*failure injected/s, 'calls after it');
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"), -1808, 'End gives the number');
survived('GetLogInfo', 'failed||-1808', qr/^failure injected at test point "logs.stopped"$/);

# a native one
$dbh->do("SELECT ese_backup_instance($id, '$work/native', wait => false)");
is(wait_for_end(), 'J1808', 'the logs of a native backup');
survived('the logs of a native backup', 'failed||-1808', qr/^failure injected/);
ok(!-e "$work/native", 'nothing is left of it');

# ---- what only the call has failed in
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
set_test_points($node, 'open.start=fail');
fails_as('53100', "SELECT ese_open_file_instance($id, 'PG_VERSION')", qr/failure injected/, 'Open');
set_test_points($node, '');
is(EseClient::value($dbh, "SELECT count(*) FROM ese_open_file_instance($id, 'PG_VERSION')"), 1, 'may be repeated');
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)"), 0, 'the backup is as it was');

# another Begin, whatever it meets, leaves the open backup alone
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
chmod(0, "$data/ese/history.$id");
isnt(error_of($dbh, "SELECT ese_begin_external_backup_instance($id, 1)"), '00000', 'a Begin that meets an error');
chmod(0600, "$data/ese/history.$id");
is(EseClient::value($dbh, "SELECT count(*) > 900 FROM ese_get_attach_info_instance($id)"), 1, 'leaves the open backup alone');
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
is(worker(), $worker, 'the worker lives on');

# ---- every step of the worker
for my $point (qw(begin.slot begin.start begin.started begin.listed begin.done open.start logs.stop logs.stopped
	logs.listed end.start end.recorded stop.quiescent))
{
	set_test_points($node, "$point=fail");
	eval {
		$dbh->do("SELECT ese_begin_external_backup_instance($id)");
		$dbh->do("SELECT ese_open_file_instance($id, 'PG_VERSION')");
		$dbh->do("SELECT ese_stop_backup_instance($id)") if $point eq 'stop.quiescent';
		EseClient::value($dbh, "SELECT ese_close_file_instance($id, handle) FROM ese_backup_handle");
		$dbh->do("SELECT ese_get_log_info_instance($id)");
		$dbh->do("SELECT ese_end_external_backup_instance($id)");
	};
	like($@, $point eq 'stop.quiescent' ? qr/was stopped|no backup/ : qr/failure injected at test point "$point"/, "$point: the caller is told");
	set_test_points($node, '');
	EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)") if EseClient::value($dbh, "SELECT ese_backup_id($id)");
	is(worker(), $worker, "$point: the worker lives on") if $point ne 'end.recorded';
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	$worker = worker();
	nothing_held($node, "$point: nothing is held");
}

# ---- what nobody could foresee: the worker restarts, and the history says why
set_test_points($node, 'logs.stopped=error');
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
fails_as('XX000', "SELECT ese_get_log_info_instance($id)", qr/error injected/, 'an error of the internals');
set_test_points($node, '');
wait_for($node, "SELECT state = 'running' AND worker_pid <> $worker FROM ese_instance WHERE instance_id = $id");
$worker = worker();
survived('an error of the internals', 'failed|worker exit|-107', qr/^error injected at test point "logs.stopped"$/);

EseClient::backup(dsn($node), $id, "$work/good", sessions => 2);
command_ok([ 'pg_verifybackup', '-q', "$work/good" ], 'the next backup is good');
nothing_held($node, 'in the end');

done_testing();
