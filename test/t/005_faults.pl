# Faults: clients and workers that die, injected errors, shutdowns, files that
# come and go.  The server stays up, nothing is left behind, the next backup
# works.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "full_page_writes = off\nautovacuum = off\n");
my $data = $node->data_dir;
my $id = start_instance($node, 'main');
my $second = start_instance($node, 'second');
$node->safe_psql('postgres', 'CREATE TABLE big AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 30000) i');
my $big = $node->safe_psql('postgres', "SELECT pg_relation_filepath('big')");

sub session { return EseClient::connect_to(dsn($node)); }
sub good_backup
{
	my ($name, $instance) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
	ok(eval { EseClient::backup(dsn($node), $instance // $id, $directory); 1 }, "$name: the next backup works") or diag($@);
	nothing_held($node, "$name: nothing is held");
	return $directory;
}
sub open_file
{
	my ($dbh, $name) = @_;
	return ($dbh->selectrow_array('SELECT * FROM ese_open_file_instance(?, ?)', undef, $id, $name))[0];
}
sub first_instance_row
{
	my ($columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM ese_backup_history WHERE instance_id = $id ORDER BY backup_id DESC LIMIT 1");
}
sub restart_count { return scalar(() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g); }

my $dbh = session();

# ---- a reader is killed: SIGTERM while it reads, then kill -9 of the client
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my $victim = session();
my $handle = open_file($victim, $big);
set_test_points($node, 'read.claimed=wait', $victim);
$victim->do("SELECT ese_read_file_instance($id, $handle)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $victim->{pg_pid} AND wait_event_type = 'Extension'");
$dbh->do("SELECT pg_terminate_backend($victim->{pg_pid})");
wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $victim->{pg_pid}");
set_test_points($node, '');
is(length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle)")), 262144,
	'a reader was terminated: another session goes on with the same piece');
my $child = fork() // die;
if ($child == 0)
{
	my $client = session();
	EseClient::value($client, "SELECT ese_read_file_instance($id, $handle, 8192)");
	$client->do('SELECT pg_sleep(600)');
	exit(0);
}
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()");
kill('KILL', $child);
waitpid($child, 0);
is(length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle, 8192)")), 8192, 'a client was killed: the backup goes on');
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
good_backup('killed readers');

# ---- the worker is terminated
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
$handle = open_file($dbh, $big);
my $worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
$dbh->do("SELECT pg_terminate_backend($worker)");
wait_for($node, "SELECT state = 'running' AND worker_pid <> $worker FROM ese_instance WHERE instance_id = $id");
fails_with($dbh, 'J0801', "SELECT ese_read_file_instance($id, $handle)", 'the worker was terminated: its handles say so');
fails_with($dbh, 'J0520', "SELECT ese_get_attach_info_instance($id)", 'and its backup is gone');
is(first_instance_row('status, stop_cause, error_number'), 'failed|worker exit|-801', 'the history says why');
good_backup('terminated worker');

# ---- an error at every step of the worker
for my $point (qw(begin.slot begin.start begin.started begin.listed begin.done open.start logs.stop logs.stopped
	logs.listed end.start end.recorded stop.quiescent))
{
	for my $action (qw(error fatal))
	{
		set_test_points($node, "$point=$action");
		eval {
			$dbh->do("SELECT ese_begin_external_backup_instance($id)");
			open_file($dbh, 'PG_VERSION');
			$dbh->do("SELECT ese_stop_backup_instance($id)") if $point eq 'stop.quiescent';
			$dbh->do("SELECT ese_end_external_backup_instance($id)") if $point =~ /^stop/;
			EseClient::value($dbh, "SELECT ese_close_file_instance($id, handle) FROM ese_backup_handle");
			$dbh->do("SELECT ese_get_log_info_instance($id)");
			$dbh->do("SELECT ese_end_external_backup_instance($id)");
		};
		my $error = $@;
		set_test_points($node, '');
		like($error, $action eq 'error' ? qr/test point|ended during the call|J0520|is not running|no backup|not open|was stopped/ :
			qr/ended during the call|is not running|no backup|not open|was stopped|terminated/, "$point=$action: the caller is told");
		wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
		nothing_held($node, "$point=$action: nothing is held");
	}
}
good_backup('injected errors');

# ... and while it starts and terminates
$node->safe_psql('postgres', "SELECT ese_term($second)");
for my $point (qw(init.start init.engine))
{
	set_test_points($node, "$point=error");
	my ($status, undef, $stderr) = $node->psql('postgres', "SELECT ese_init($second)");
	isnt($status, 0, "$point=error: ese_init says so");
	set_test_points($node, '');
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $second");
	pass('and the worker comes up when it can');
	$node->safe_psql('postgres', "SELECT ese_term($second)");
}
$node->safe_psql('postgres', "SELECT ese_init($second)");
good_backup('injected errors at start', $second);
is(restart_count(), 0, 'the server has not crashed so far');

# ---- two instances at once
my @pids;
for my $instance ($id, $second)
{
	my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
	my $pid = fork() // die;
	if ($pid == 0)
	{
		my $ok = eval { EseClient::backup(dsn($node), $instance, $directory); 1 };
		print STDERR $@ unless $ok;
		POSIX::_exit($ok && system('pg_verifybackup', '-q', $directory) == 0 ? 0 : 1);
	}
	push @pids, $pid;
}
my @failed = grep { waitpid($_, 0); $? != 0 } @pids;
is(scalar(@failed), 0, 'two instances back up at once');
nothing_held($node, 'two instances');

# ---- files and databases come and go
$node->safe_psql('postgres', 'CREATE DATABASE leaving');
$node->safe_psql('postgres', 'CREATE TABLE leaving AS SELECT generate_series(1, 1000) AS a');
$node->safe_psql('postgres', 'CREATE TABLE shrinking AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 30000) i');
my $leaving = $node->safe_psql('postgres', "SELECT pg_relation_filepath('leaving')");
my $shrinking = $node->safe_psql('postgres', "SELECT pg_relation_filepath('shrinking')");
my $database = $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = 'leaving'");
my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
EseClient::backup(dsn($node), $id, $directory, listed => sub {
	my ($session) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE leaving');
	$node->safe_psql('postgres', 'DROP TABLE leaving');
	$node->safe_psql('postgres', 'CREATE DATABASE coming');
	$node->safe_psql('coming', 'CREATE TABLE t AS SELECT 1 AS a');
	my ($open) = $session->selectrow_array("SELECT handle FROM ese_open_file_instance($id, '$shrinking')");
	EseClient::value($session, "SELECT ese_read_file_instance($id, $open, 8192)");
	$node->safe_psql('postgres', 'TRUNCATE shrinking; INSERT INTO shrinking VALUES (1, $$one$$); VACUUM FULL big; CHECKPOINT');
	1 while length(EseClient::value($session, "SELECT ese_read_file_instance($id, $open)"));
	EseClient::value($session, "SELECT ese_close_file_instance($id, $open)");
	$node->safe_psql('postgres', 'CHECKPOINT');
	fails_with($session, 'J1811', "SELECT ese_open_file_instance($id, '$leaving')", 'a dropped table is gone');
	fails_with($session, 'J1811', "SELECT ese_open_file_instance($id, 'base/$database/1259')", 'so is a dropped database');
});
ok(!-e "$directory/$leaving", 'what is gone is not in the backup');
my $restored = restore_and_check($node, 'restored', $directory);
is($restored->safe_psql('postgres', 'SELECT * FROM shrinking'), '1|one', 'a truncated table');
is($restored->safe_psql('coming', 'SELECT * FROM t'), '1', 'a database made during the backup');
is($restored->safe_psql('postgres', 'SELECT count(*) FROM big'), '30000', 'a rewritten table');
$restored->stop;
nothing_held($node, 'files that come and go');

# ---- an unreadable file, a lost directory, odd names
append_to_file("$data/unreadable", 'x');
mkdir("$data/lost");
append_to_file("$data/lost/file", 'x');
symlink('/etc/passwd', "$data/link");
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
chmod(0, "$data/unreadable");
rename("$data/lost", "$data/../lost");
like(fails_with($dbh, 'J1032', "SELECT ese_open_file_instance($id, 'unreadable')", 'an unreadable file'),
	qr/could not open file "unreadable": Permission denied/, 'is named with the reason');
fails_with($dbh, 'J1023', "SELECT ese_open_file_instance($id, 'lost/file')", 'a file whose directory was lost is not gone');
fails_with($dbh, 'J1203', "SELECT ese_open_file_instance($id, $_)")
  for ("'link'", "'../pgdata/PG_VERSION'", "'/etc/passwd'", "'$data/PG_VERSION'", "E'PG_VERSION\\n'", "'PG''VERSION'",
	"'postmaster.pid'", "'pg_wal/000000010000000000000001'", "'./PG_VERSION'", "'base/5/'");
fails_with($dbh, 'J1812', "SELECT ese_open_file_instance($id, 'base')", 'a directory');
fails_with($dbh, 'J1003', "SELECT ese_open_file_instance($id, $_)") for ("''", 'NULL', "E'E\\'abc'");
fails_with($dbh, 'J1023', "SELECT ese_open_file_instance($id, repeat('x', 5000))", 'a name that is too long');
$handle = open_file($dbh, 'PG_VERSION');
fails_with($dbh, 'J1032', "SELECT ese_open_file_instance($id, 'PG_VERSION')", 'a file that is open on another handle');
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"), -1032, 'End gives the first error');
is(first_instance_row('status, error_name'), 'failed|JET_errFileAccessDenied', 'so does the history');
chmod(0600, "$data/unreadable");
unlink("$data/link");
rename("$data/../lost", "$data/lost");
good_backup('unreadable files');

# ---- fast and immediate shutdown with a backup open
$big = $node->safe_psql('postgres', "SELECT pg_relation_filepath('big')");
for my $mode (qw(fast immediate))
{
	$dbh = session();
	$dbh->do("SELECT ese_begin_external_backup_instance($id, 0, '$mode')");
	open_file($dbh, $big);
	$node->stop($mode);
	$node->start;
	wait_for($node, "SELECT count(*) = 2 FROM ese_instance WHERE state = 'running'");
	is(first_instance_row('label, status'), "$mode|failed", "$mode shutdown: the backup is recorded as failed");
	is(first_instance_row('stop_cause'), $mode eq 'fast' ? 'shutdown' : 'worker exit', 'with its cause');
	good_backup("$mode shutdown");
}

# ---- crash restart
$dbh = session();
$dbh->do("SELECT ese_begin_external_backup_instance($id, 0, 'crash')");
open_file($dbh, $big);
$worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
kill('KILL', $worker);
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM ese_instance WHERE state = 'running'"),
	'after a crash the instances come back');
is(restart_count(), 1, 'one crash, ours');
is(first_instance_row('label, status, stop_cause'), 'crash|failed|worker exit', 'and the backup is recorded as failed');
$dbh = session();
good_backup('crash restart');

done_testing();
