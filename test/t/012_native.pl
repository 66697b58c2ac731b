# Native backups: where they may be written, what is left of one that was
# stopped, cancelled, killed or has met a full disk, and who waits for them.
use strict;
use warnings;

use EseClient;
use EseTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\nfull_page_writes = off\n");
my $data = $node->data_dir;
$node->command_ok([ 'pgbench', '-i', '-s', '5', '-q', 'postgres' ], 'pgbench data');
my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE more LOCATION '$space'");
$node->safe_psql('postgres', 'CREATE TABLE there TABLESPACE more AS SELECT generate_series(1, 10000) AS a');
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $target = "$work/target";

sub set_parameter
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$name', '$value')");
	return;
}

sub good_backup
{
	my ($name) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
	ok(eval { $dbh->do("SELECT ese_backup_instance($id, '$directory')"); 1 }, "$name: the next backup works") or diag($@);
	command_ok([ 'pg_verifybackup', '-q', $directory ], "$name: and is good");
	nothing_held($node, "$name: nothing is held");
	return $directory;
}

# Begin one and come back at once; then it waits at a point until told.
sub start_backup
{
	my ($path) = @_;
	$dbh->do("SELECT ese_backup_instance($id, '$path', wait => false)");
	return EseClient::value($dbh, "SELECT ese_backup_id($id)");
}

# The SQLSTATE with which a backup has ended.
sub wait_for_end
{
	my ($number) = @_;
	my $which = defined $number ? ", $number" : '';
	return eval { $dbh->do("CALL ese_wait_backup($id$which)"); 1 } ? '00000' : $dbh->state;
}
sub entries { return grep { !/^\.\.?$/ } do { opendir(my $d, $_[0]) or return 'absent'; readdir($d) }; }

# ---- where it may be written
my %refused = (
	"'relative'" => 'J1023', 'NULL' => 'J1003', "''" => 'J1023',
	"'$data'" => 'J1023', "'$data/x'" => 'J1023', "'$data/../pgdata/base/x'" => 'J1023', "'$data/pg_wal/x'" => 'J1023',
	"'$space/x'" => 'J1023', "'$work/link/x'" => 'J1023', "'$work/link'" => 'J1023', "'$work/none/x'" => 'J1023',
	"'$work/file'" => 'J1023', "'$work'" => 'J0504', "'$work/readonly/x'" => 'J1032', "'" . '/x' x 600 . "'" => 'J1023',
	"E'$work/a\\nb'" => 'J1023');
symlink($space, "$work/link");
append_to_file("$work/file", 'x');
mkdir("$work/readonly", 0500);
fails_with($dbh, $refused{$_}, "SELECT ese_backup_instance($id, $_)", 'path ' . substr($_, 0, 40)) for sort keys %refused;
like($dbh->errstr, qr/^ERROR:  cannot write a backup to|the path is null/, 'a message that says what');
fails_with($dbh, 'J0900', "SELECT ese_backup_instance($id, '$target', 128)", 'an unknown option');
fails_with($dbh, 'J0526', "SELECT ese_backup_instance($id, '$target', 1)", 'an incremental one with circular logging');
fails_with($dbh, 'J1003', "SELECT ese_backup_instance($id, '$target', 0, true, E'a\\nb')", 'a label of two lines');
ok(!-e $target, 'a refused backup makes nothing');
set_parameter('backup_compression', 'zstd');
like(fails_with($dbh, 'J1003', "SELECT ese_backup_instance($id, '$target')", 'a compressed directory'), qr/HINT:  Set backup_format to tar/, 'has a hint');
set_parameter('backup_compression', 'none');
is($node->safe_psql('postgres', "SELECT DISTINCT status, reason <> '' FROM ese_backup_history"), 'failed|t', 'one that is refused for its path is in the history');

# ---- who may
$node->safe_psql('postgres', <<"SQL");
CREATE ROLE writer LOGIN IN ROLE pg_read_server_files;
GRANT EXECUTE ON FUNCTION ese_backup_instance(integer, text, integer, boolean, text) TO writer;
SQL
my $writer = EseClient::connect_to(dsn($node), user => 'writer');
fails_with($writer, '42501', "SELECT ese_backup_instance($id, '$target')", 'without pg_write_server_files');
$node->safe_psql('postgres', 'GRANT pg_write_server_files TO writer; REVOKE pg_read_server_files FROM writer');
fails_with($writer, '42501', "SELECT ese_backup_instance($id, '$target')", 'without pg_read_server_files');
$node->safe_psql('postgres', 'GRANT pg_read_server_files TO writer');
mkdir($target, 0755);
is(EseClient::value($writer, "SELECT ese_backup_instance($id, '$target', label => 'mine')"), 0, 'with both, into an empty directory');
is((stat($target))[2] & 07777, 0700, 'whose mode is made right');
is(last_row($node, 'status, location, label, begun_by'), "completed|$target|mine|writer", 'the history says where');

# ---- contents, file by file, of a quiescent cluster
my @different;
chomp(my @names = `cd $data && find . -type f -printf '%P\n'`);
for my $name (@names)
{
	next if $name =~ m{^(ese|pg_wal|pg_logical|pg_stat|pg_stat_tmp|pg_replslot|pg_subtrans|pg_notify|pg_dynshmem)/|postmaster\.|pg_internal\.init|pg_control$};
	push @different, $name if system('cmp', '-s', "$data/$name", "$target/$name") != 0;
}
cmp_ok(scalar(@names), '>', 900, 'of all files');
is("@different", '', 'each is as in the data directory');
ok(!-e "$target/ese_backup_incomplete", 'there is no marker');
my $restored = restore_and_check($node, 'restored', $target);
is_good_restore($restored, 'restored');
is($restored->safe_psql('postgres', 'SELECT count(*) FROM there'), '10000', 'the tablespace is there');
$restored->stop;
nothing_held($node, 'a good backup');
fails_with($dbh, 'J0504', "SELECT ese_backup_instance($id, '$target')", 'it is not written over');

# ---- while it runs: progress, the marker, calls of clients, a second one
set_test_points($node, 'engine.read=hold', $dbh);
$target = "$work/running";
my $backup = start_backup($target);
like(slurp_file("$target/ese_backup_incomplete"), qr/instance "main".*it is not a backup/s, 'the marker');
ok(!-e "$target/global/pg_control", 'nothing can start on it');
is($node->safe_psql('postgres', 'SELECT backup_id, kind, phase, files_total > 900, bytes_total > 50000000, open_files FROM ese_backup_progress'),
	"$backup|full|databases|t|t|0", 'progress');
fails_with($dbh, 'J0521', "SELECT $_")
  for ("ese_get_attach_info_instance($id)", "ese_open_file_instance($id, 'PG_VERSION')", "ese_open_stream_instance($id)",
	"ese_get_log_info_instance($id)", "ese_end_external_backup_instance($id)", "ese_end_external_backup_instance($id, 2)");
like(fails_with($dbh, 'J0505', "SELECT ese_backup_instance($id, '$work/other')", 'another one'), qr/HINT:  It ends by itself/, 'has a hint');
fails_with($dbh, 'J0505', "SELECT ese_begin_external_backup_instance($id)");
fails_with($dbh, 'J0505', "SELECT ese_term($id)");
ok(!-e "$work/other", 'the other target is as it was');

# ---- waiting: without a snapshot; a timeout leaves the backup alone
like(fails_with($dbh, '57014', "CALL ese_wait_backup($id, timeout => '50ms')", 'a timeout is an error'), qr/has not ended in time/, 'that says so');
fails_with($dbh, '57014', "CALL ese_wait_backup($id, timeout => '0')", 'so is none at all');
fails_with($dbh, 'J1003', "CALL ese_wait_backup($id, timeout => '-1s')", 'a negative one is refused');
fails_with($dbh, 'J0520', "CALL ese_wait_backup($id, 4711)", 'a backup nobody knows');
$dbh->begin_work;
fails_with($dbh, '0A000', "CALL ese_wait_backup($id)", 'not in a transaction block');
$dbh->rollback;
my $waiter = EseClient::connect_to(dsn($node));
$waiter->do("CALL ese_wait_backup($id)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $waiter->{pg_pid} AND wait_event_type = 'Extension'");
is($node->safe_psql('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $waiter->{pg_pid}"), 't', 'a waiter has no snapshot');
$dbh->do("SELECT pg_terminate_backend($waiter->{pg_pid})");
wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $waiter->{pg_pid}");
$waiter = EseClient::connect_to(dsn($node));
$waiter->do("SET statement_timeout = '50ms'");
fails_with($waiter, '57014', "CALL ese_wait_backup($id)", 'statement_timeout ends a wait');
is($node->safe_psql('postgres', 'SELECT stop_requested FROM ese_backup_progress'), 'f', 'the backup goes on without its waiters');
set_test_points($node, '');
is(wait_for_end(), '00000', 'and ends well');
is(wait_for_end($backup), '00000', 'who waits later is told the same');
command_ok([ 'pg_verifybackup', '-q', $target ], 'and it is good');

# ---- who cancels the call that began a backup stops it; who only waits does not (034)
set_test_points($node, 'engine.read=hold, wait.own=wait', $dbh);
my $offset = -s $node->logfile;
$waiter = EseClient::connect_to(dsn($node));
$waiter->do("SELECT ese_backup_instance($id, '$work/cancelled')", { pg_async => 1 });
$node->wait_for_log(qr/waiting at test point "wait.own"/, $offset);
$dbh->do("SELECT pg_cancel_backend($waiter->{pg_pid})");
ok(!eval { $waiter->pg_result; 1 } && $waiter->state eq '57014', 'a backup is cancelled by who called it');
set_test_points($node, '');
wait_for_end();
is(last_row($node, 'status, stop_cause, error_number, reason'), 'aborted by server|user|-801|the call that began it was cancelled', 'the backup was stopped');
# what a thread that is held has left goes when it returns
wait_for($node, "SELECT pg_stat_file('$work/cancelled', true) IS NULL");
ok(!-e "$work/cancelled", 'and nothing is left of it');
nothing_held($node, 'a cancelled backup');

# ---- a session that dies while the backup starts is no reason to end it
$target = "$work/orphan";
set_test_points($node, 'begin.start=wait');
$waiter = EseClient::connect_to(dsn($node));
$waiter->do("SELECT ese_backup_instance($id, '$target')", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'starting'");
$dbh->do("SELECT pg_terminate_backend($waiter->{pg_pid})");
wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $waiter->{pg_pid}");
set_test_points($node, '');
is(wait_for_end(), '00000', 'a backup whose session has died while it started ends well');
command_ok([ 'pg_verifybackup', '-q', $target ], 'and it is good');
$waiter = EseClient::connect_to(dsn($node));
set_test_points($node, 'begin.start=wait');
$waiter->do("SELECT ese_backup_instance($id, '$work/cancelled')", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'starting'");
$dbh->do("SELECT pg_cancel_backend($waiter->{pg_pid})");
ok(!eval { $waiter->pg_result; 1 } && $waiter->state eq '57014', 'one that is cancelled');
set_test_points($node, '');
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is(last_row($node, 'status'), 'aborted by caller', 'ends it');
ok(!-e "$work/cancelled", 'and nothing is left of it');

# ---- stopped at random moments: nothing is left, the cluster is fine
mkdir("$work/stopped");
my (%ended, $left);
for my $round (1 .. 100)
{
	my @way = ([ 'plain', 'none' ], [ 'tar', 'none' ], [ 'tar', 'lz4' ], [ 'tar', 'zstd:9' ])[$round % 4]->@*;
	if ($round % 25 == 1)
	{
		set_parameter('manifest_checksums', ('crc32c', 'sha256', 'none', 'crc32c')[$round / 25]);
	}
	set_parameter('backup_format', 'tar');
	set_parameter('backup_compression', $way[1]);
	set_parameter('backup_format', $way[0]);
	start_backup("$work/stopped");
	usleep(int(rand(($round % 3 == 0 ? 300 : 60) * 1000)));
	$dbh->do("SELECT ese_stop_backup_instance($id)");
	$ended{wait_for_end()}++;
	my $status = last_row($node, 'status');
	if ($status eq 'completed') { system('rm', '-rf', "$work/stopped"); mkdir("$work/stopped"); }
	elsif (my @entries = entries("$work/stopped")) { $left .= "$round: @entries\n"; }
}
is($left, undef, 'a stop leaves an empty target');
ok(($ended{J0801} // 0) > 30 && keys %ended <= 2, 'and its own error: ' . join(', ', map { "$_: $ended{$_}" } sort keys %ended));
set_parameter($_, 'default') for qw(backup_compression backup_format manifest_checksums);
is($node->safe_psql('postgres', 'SELECT max(stop_latency) < interval $$5s$$ FROM ese_backup_history'), 't', 'each was quiescent');
good_backup('100 stops');

# ---- at each place: stop, error and exit
for my $point (qw(native.databases logs.stop native.logs native.sync native.complete native.remove))
{
	for my $action (qw(error fatal))
	{
		next if $point eq 'native.remove';
		set_test_points($node, "$point=$action");
		isnt(error_of($dbh, "SELECT ese_backup_instance($id, '$work/stopped')"), '00000', "$point=$action: the caller is told");
		set_test_points($node, '');
		wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
		is(join(' ', entries("$work/stopped")), '', "$point=$action: nothing is left");
		like(last_row($node, 'status'), qr/^failed$/, "$point=$action: the history says so");
	}
	set_test_points($node, "$point=wait");
	my $offset = -s $node->logfile;
	set_test_points($node, "engine.read=hold $point=wait") if $point eq 'native.remove';
	$waiter = EseClient::connect_to(dsn($node));
	$waiter->do("SELECT ese_backup_instance($id, '$work/stopped')", { pg_async => 1 });
	if ($point eq 'native.remove')
	{
		wait_for($node, "SELECT count(*) = 1 FROM ese_backup_progress WHERE phase = 'databases'");
		$dbh->do("SELECT ese_stop_backup_instance($id, false)");
		# what is held keeps the removal from beginning
		set_test_points($node, "$point=wait");
	}
	$node->wait_for_log(qr/waiting at test point "$point"/, $offset);
	$dbh->do("SELECT ese_stop_backup_instance($id, false)");
	set_test_points($node, '');
	my $good = eval { $waiter->pg_result; 1 };
	is($good ? '00000' : $waiter->state, 'J0801', "$point: stopped there");
	wait_for($node, "SELECT count(*) = 0 FROM pg_ls_dir('$work/stopped', true, false)");
	is(join(' ', entries("$work/stopped")), '', "$point: nothing is left");
}
good_backup('stops and errors at each place');

# ---- terminated: the instance, the worker, the server
set_test_points($node, 'engine.read=hold', $dbh);
start_backup("$work/stopped");
set_test_points($node, '');
is(EseClient::value($dbh, "SELECT ese_term($id, ese_grbit('JET_bitTermStopBackup'))"), 0, 'Term with JET_bitTermStopBackup');
is(join(' ', entries("$work/stopped")), '', 'leaves nothing');
is(last_row($node, 'status, stop_cause'), 'aborted by server|term', 'and says so');
$dbh->do("SELECT ese_init($id)");
set_parameter('backup_max_rate', '1MB');
start_backup("$work/stopped");
$dbh->do("SELECT pg_terminate_backend(worker_pid) FROM ese_instance WHERE instance_id = $id");
isnt(wait_for_end(), '00000', 'the worker was terminated: who waits is told');
is(join(' ', entries("$work/stopped")), '', 'it leaves nothing');
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
start_backup("$work/stopped");
$node->stop('fast');
is(join(' ', entries("$work/stopped")), '', 'nor does a fast shutdown');
$node->start;
$dbh = EseClient::connect_to(dsn($node));
is(last_row($node, 'status, stop_cause'), 'failed|shutdown', 'which the history knows');

# ---- kill -9 of the server: the marker stays, nothing takes it for a backup
start_backup("$work/stopped");
wait_for($node, 'SELECT bytes_done > 0 FROM ese_backup_progress');
my $worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
$dbh->disconnect;
kill_server($node, $worker);
ok(-e "$work/stopped/ese_backup_incomplete", 'the server was killed: the marker is there');
ok(!-e "$work/stopped/global/pg_control", 'and no pg_control');
command_fails([ 'pg_verifybackup', "$work/stopped" ], 'pg_verifybackup does not take it for a backup');
command_fails([ 'pg_ctl', '-D', "$work/stopped", '-w', '-l', "$work/log", 'start' ], 'nor does PostgreSQL');
$node->start;
$dbh = EseClient::connect_to(dsn($node));
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
is(last_row($node, 'status'), 'failed', 'the history says failed');
fails_with($dbh, 'J0504', "SELECT ese_backup_instance($id, '$work/stopped')", 'it is not written over');
set_parameter('backup_max_rate', '0');
system("rm -rf $work/stopped");
good_backup('kill -9');

# ---- the rate limit holds over all threads, and can be changed while it runs
set_parameter('backup_max_rate', '2MB');
start_backup("$work/limited");
usleep(1500000);
my $bytes = $node->safe_psql('postgres', 'SELECT bytes_done FROM ese_backup_progress');
cmp_ok($bytes, '<', 12_000_000, "backup_max_rate: $bytes bytes in a second and a half");
set_parameter('backup_max_rate', '0');
is(wait_for_end(), '00000', 'without the limit it soon ends');

# ---- files that come and go, in every way that does not open them one by one
for my $way (grep { $_->{name} =~ /^(by streams|native|native, tar)$/ } @WAYS)
{
	my $name = $way->{name};
	$node->safe_psql('postgres', 'CREATE DATABASE leaving');
	$node->safe_psql('postgres', 'CREATE TABLE leaving AS SELECT generate_series(1, 1000) AS a');
	$node->safe_psql('postgres', 'CREATE TABLE shrinking AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 30000) i');
	my $leaving = $node->safe_psql('postgres', "SELECT pg_relation_filepath('leaving')");
	my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
	take_backup($way, $node, $id, $directory, listed => sub {
		$node->safe_psql('postgres', 'DROP DATABASE leaving');
		$node->safe_psql('postgres', 'DROP TABLE leaving');
		$node->safe_psql('postgres', 'CREATE DATABASE coming');
		$node->safe_psql('coming', 'CREATE TABLE t AS SELECT 1 AS a');
		$node->safe_psql('postgres', 'TRUNCATE shrinking; INSERT INTO shrinking VALUES (1, $$one$$); CHECKPOINT');
	});
	ok(!-e "$directory/$leaving", "$name: what is gone is not in the backup");
	$restored = restore_and_check($node, 'coming_' . $name =~ s/\W+/_/gr, $directory);
	is($restored->safe_psql('postgres', 'SELECT * FROM shrinking'), '1|one', "$name: a truncated table");
	is($restored->safe_psql('coming', 'SELECT * FROM t'), '1', "$name: a database made during the backup");
	$restored->stop;
	$node->safe_psql('postgres', 'DROP DATABASE coming');
	$node->safe_psql('postgres', 'DROP TABLE shrinking');
}
set_parameter($_, 'default') for qw(backup_compression backup_format);

# ---- an unreadable file is too much
append_to_file("$data/unreadable", 'x');
chmod(0, "$data/unreadable");
like(fails_with($dbh, 'J1032', "SELECT ese_backup_instance($id, '$work/unreadable')", 'an unreadable file fails a backup'),
	qr/could not open file "unreadable"/, 'and is named');
ok(!-e "$work/unreadable", 'nothing is left');
unlink("$data/unreadable");

# ---- damaged pages: copied, reported, and the backup is not good
$node->safe_psql('postgres', 'CREATE TABLE damaged AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 5000) i');
my $path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('damaged')");
$node->safe_psql('postgres', 'CHECKPOINT');
open(my $file, '+<:raw', "$data/$path") or die;
seek($file, 7 * 8192 + 5000, 0);
print $file "\1\2\3\4";
close($file);
my $message = fails_with($dbh, 'J1018', "SELECT ese_backup_instance($id, '$work/damaged')", 'a damaged page');
like($message, qr/\Q$path\E.*HINT:  The copy was kept in "\Q$work\E\/damaged"/s, 'names file and copy');
is(last_row($node, 'status, error_number, checksum_failures'), 'failed|-1018|1', 'the history says so');
is($node->safe_psql('postgres', 'SELECT file_name, block FROM ese_checksum_failure ORDER BY backup_id DESC LIMIT 1'), "$path|7", 'and where');
is($node->safe_psql('postgres', 'SELECT pg_filenode_relation(tablespace_oid, relfilenode) FROM ese_checksum_failure ORDER BY backup_id DESC LIMIT 1'), 'damaged', 'which relation that is, the README tells');
command_ok([ 'pg_verifybackup', '-q', "$work/damaged" ], 'the copy is what was read');
set_parameter('verify_checksums', 'report');
is(error_of($dbh, "SELECT ese_backup_instance($id, '$work/reported')"), '00000', 'report: it is a success');
is(last_row($node, 'status, checksum_failures'), 'completed|1', 'with a failure that is counted');
set_parameter('verify_checksums', 'off');
is(error_of($dbh, "SELECT ese_backup_instance($id, '$work/off')"), '00000', 'off: nothing is looked for');
is(last_row($node, 'status, checksum_failures'), 'completed|0', 'nor found');
set_parameter('verify_checksums', 'default');
$node->safe_psql('postgres', 'DROP TABLE damaged');
good_backup('in the end');
is(scalar(() = slurp_file($node->logfile) =~ /was terminated by signal|all server processes terminated/g), 0, 'the server has never crashed');

# ---- a full disk: a small file system that only the server sees
SKIP:
{
	my $small = "$work/small";
	mkdir($small);
	my @apart = ('unshare', '-Um', "--map-user=$>", '--map-group=' . ($) + 0), '--keep-caps', 'sh', '-c', "mount -t tmpfs -o size=20m none '$small' && exec \"\$@\"", 'sh');
	skip 'no file system can be mounted here', 7 if system("@apart[0 .. 6] \"mount -t tmpfs none '$small'\" 2> /dev/null") != 0;
	$node->stop;
	system_or_bail(@apart, 'pg_ctl', '-D', $data, '-w', '-s', '-l', $node->logfile, 'start');
	$node->_update_pid(1);
	$dbh = EseClient::connect_to(dsn($node));
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	for my $format (qw(plain tar))
	{
		set_parameter('backup_format', $format);
		$message = fails_with($dbh, 'J1808', "SELECT ese_backup_instance($id, '$small/backup')", "$format: a full disk fails the backup");
		like($message, qr/could not write file "[^"]+" in "\Q$small\E\/backup": No space left on device/, "$format: with a reason and a place");
		is($node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_dir('$small')"), 0, "$format: nothing is left");
	}
	set_parameter('backup_format', 'plain');
	good_backup('a full disk');
}

done_testing();
