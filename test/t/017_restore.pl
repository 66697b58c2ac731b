# Restoring by the server: every state of a chain, points in time, tablespaces,
# archives; what is refused; stops; verification.
use strict;
use warnings;

use EseClient;
use EseTest;
use File::Basename qw(basename);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\nmax_wal_size = 64MB\nwal_keep_size = 0\nmax_prepared_transactions = 7\n");
# of this server, whatever others do on the machine
my $homes = '/tmp/ese_restore.' . $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()') . '.*';
my $work = PostgreSQL::Test::Utils::tempdir();
mkdir("$work/space");
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$work/space'");
$node->command_ok([ 'pgbench', '-i', '-s', '2', '-q', '--index-tablespace=space', 'postgres' ], 'pgbench data');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int, at timestamptz DEFAULT clock_timestamp())');
$node->safe_psql('postgres', "BEGIN; INSERT INTO marker VALUES (100); PREPARE TRANSACTION 'prepared'");
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $restores = 0;

sub set_parameter
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$name', '$value')");
	return;
}

sub backup { my ($path, $grbit) = @_; return $dbh->do("SELECT ese_backup_instance($id, '$path', $grbit)"); }
sub copy { my ($from, $to) = @_; PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $from, $to); return $to; }

# Restore, start, and look at markers and pgbench's invariants.
sub restores_to
{
	my ($source, $wanted, $name, $arguments) = @_;
	my $restored = PostgreSQL::Test::Cluster->new('restored' . ++$restores);
	my $data = $restored->data_dir;
	$arguments = $arguments ? ", $arguments" : '';
	is(error_of($dbh, "SELECT ese_restore_instance($id, '$source', '$data'$arguments)"), '00000', $name) or diag($dbh->errstr);
	is(last_row($node, 'kind, status, location'), "restore|completed|$data", "$name: the history says so");
	is(join(' ', map { basename($_) } glob("$data/ese_* $data/*.signal $data/backup_label*")), 'backup_label.old', "$name: nothing of the work is left");
	$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'\n");
	$restored->start;
	is($restored->safe_psql('postgres', 'SELECT coalesce(max(n), 0), count(*) FROM marker'), $wanted, "$name: markers");
	is($restored->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'), 'prepared', "$name: a prepared transaction is still one");
	is_good_restore($restored, $name);
	$restored->stop;
	return $data;
}

sub refuses
{
	my ($state, $source, $name, $like, $arguments) = @_;
	my $target = "$work/refused";
	$arguments = $arguments ? ", $arguments" : '';
	my $message = fails_with($dbh, $state, "SELECT ese_restore_instance($id, '$source', '$target'$arguments)", $name);
	like($message, $like, "$name: with a reason");
	is(join(' ', glob("$target* $homes")), '', "$name: nothing is left");
	return;
}

# ---- a full backup and five incrementals under load: each state of it
my $pgbench = fork() // die;
if ($pgbench == 0)
{
	open(STDOUT, '>', '/dev/null');
	open(STDERR, '>', '/dev/null');
	exec('pgbench', '-n', '-c', '2', '-T', '600', '-h', $node->host, '-p', $node->port, 'postgres');
}
my %point;
backup("$work/full", 0);
copy("$work/full", "$work/state0");
for my $n (1 .. 5)
{
	$node->safe_psql('postgres', "INSERT INTO marker VALUES ($n)");
	if ($n == 3)
	{
		$point{time} = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
		$point{lsn} = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
		$node->safe_psql('postgres', "SELECT pg_create_restore_point('three')");
		$point{xid} = $node->safe_psql('postgres', 'BEGIN; UPDATE marker SET n = n WHERE n = 3; SELECT pg_current_xact_id(); COMMIT');
		usleep(20_000);
	}
	backup("$work/full", 1);
	copy("$work/full", "$work/state$n");
}
kill('TERM', $pgbench);
waitpid($pgbench, 0);
restores_to("$work/state$_", $_ == 0 ? '0|0' : "$_|$_", "state $_") for 0 .. 5;

# ---- points in time, between two incrementals
restores_to("$work/full", '3|3', 'to a time', "target_time => '$point{time}'");
restores_to("$work/full", '3|3', 'to a location', "target_lsn => '$point{lsn}'");
restores_to("$work/full", '3|3', 'to a restore point', "target_name => 'three'");
restores_to("$work/full", '3|3', 'to a transaction', "target_xid => '$point{xid}'");
refuses('J0553', "$work/full", 'a target that is not reached', qr/recovery ended before configured recovery target was reached/, "target_name => 'four'");
refuses('J1003', "$work/full", 'two targets', qr/more than one recovery target/, "target_name => 'a', target_xid => '7'");

# ---- tablespaces
my ($oid) = $node->safe_psql('postgres', "SELECT oid FROM pg_tablespace WHERE spcname = 'space'");
my $data = restores_to("$work/full", '5|5', 'tablespaces beside the destination');
is(readlink("$data/pg_tblspc/$oid"), "$data.$oid", 'a link to a place beside the destination');
$data = restores_to("$work/full", '5|5', 'a tablespace by its oid', qq(tablespace_map => '{"$oid": "$work/place1"}'));
is(readlink("$data/pg_tblspc/$oid"), "$work/place1", 'goes where it is wanted');
$data = restores_to("$work/full", '5|5', 'a tablespace by its former place', qq(tablespace_map => '{"$work/space": "$work/place2"}'));
is(readlink("$data/pg_tblspc/$oid"), "$work/place2", 'goes where it is wanted');
refuses('J1003', "$work/full", 'an unknown tablespace', qr/has no tablespace "77"/, q(tablespace_map => '{"77": "/x"}'));
refuses('J1003', "$work/full", 'a map that is none', qr/not a JSON object/, q(tablespace_map => '["77"]'));
refuses('J0504', "$work/full", 'a place that is in use', qr/is not empty/, qq(tablespace_map => '{"$oid": "$work/place2"}'));
refuses('J1023', "$work/full", 'the original place', qr/lies in the data directory or in a tablespace/, qq(tablespace_map => '{"$oid": "$work/space"}'));

# ---- archives
set_parameter('backup_format', 'tar');
for my $compression (qw(none lz4 zstd:1))
{
	my $name = "tar, $compression";
	my $directory = "$work/tar_" . $compression =~ s/\W//gr;
	set_parameter('backup_compression', $compression);
	backup($directory, 0);
	$node->safe_psql('postgres', 'INSERT INTO marker SELECT 6 WHERE NOT EXISTS (SELECT FROM marker WHERE n = 6)');
	$point{$compression} = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	usleep(20_000);
	$node->safe_psql('postgres', 'INSERT INTO marker SELECT max(n) + 1 FROM marker WHERE n < 100');
	backup($directory, 1);
	my $last = $node->safe_psql('postgres', 'SELECT max(n) FROM marker WHERE n < 100');
	restores_to($directory, "$last|$last", $name);
	my $before = $last - 1;
	restores_to($directory, "$before|$before", "$name, to a time", qq(target_time => '$point{$compression}', tablespace_map => '{"$oid": "$work/place_$last"}'));
	is(error_of($dbh, "SELECT ese_verify_backup($id, '$directory')"), '00000', "$name: verified");
	is(error_of($dbh, "SELECT ese_verify_backup($id, '$directory', 'restore')"), '00000', "$name: verified by a restore") or diag($dbh->errstr);
}
set_parameter('backup_format', 'plain');
set_parameter('backup_compression', 'none');

# ---- verification goes on record, and leaves nothing
is(error_of($dbh, "SELECT ese_verify_backup($id, '$work/full')"), '00000', 'verified');
my $rows = "SELECT string_agg(DISTINCT kind || ' ' || coalesce(verified_depth, 'not') || ' ' || (verified_at IS NOT NULL), ', ' ORDER BY kind || ' ' || coalesce(verified_depth, 'not') || ' ' || (verified_at IS NOT NULL)) FROM ese_backup_history WHERE location = '$work/full' AND kind <> 'verify'";
is($node->safe_psql('postgres', $rows), 'full manifest true, incremental manifest true', 'the rows of the backup say so');
is(error_of($dbh, "SELECT ese_verify_backup($id, '$work/full', 'restore')"), '00000', 'verified by a restore') or diag($dbh->errstr);
is($node->safe_psql('postgres', $rows), 'full restore true, incremental restore true', 'the rows say that as well');
is(join(' ', glob("$work/*.ese_verify* $homes")), '', 'nothing is left');
fails_with($dbh, 'J1003', "SELECT ese_verify_backup($id, '$work/full', 'deep')", 'an unknown depth');

# ---- what is damaged, missing or strange
sub damaged
{
	my ($name, $damage, $state, $like, %options) = @_;
	my $copy = "$work/damaged";
	system('rm', '-rf', $copy);
	copy($options{from} // "$work/full", $copy);
	$damage->($copy);
	refuses($state, $copy, $name, $like);
	my $message = fails_with($dbh, $state, "SELECT ese_verify_backup($id, '$copy')", "$name: verification");
	like($message, $like, "$name: verification gives the reason");
	is(join(' ', glob("$work/*.ese_verify*")), '', "$name: and leaves nothing");
	return;
}

sub change_byte
{
	my ($path, $at) = @_;
	open(my $file, '+<:raw', $path) or die "$path: $!";
	seek($file, $at, 0);
	read($file, my $byte, 1);
	seek($file, $at, 0);
	print $file chr(ord($byte) ^ 1);
	close($file);
	return;
}

my $relation = $node->safe_psql('postgres', "SELECT pg_relation_filepath('pgbench_tellers')");
my @segments = sort map { basename($_) } grep { /\/[0-9A-F]{24}$/ } glob("$work/full/pg_wal/*");
ok(@segments > 3, 'there are some logs');
damaged('a file with another byte', sub { change_byte("$_[0]/$relation", 100) }, 'J1018', qr/"\Q$relation\E" does not match the manifest/);
damaged('a file that is longer', sub { append_to_file("$_[0]/$relation", 'x') }, 'J1018', qr/"\Q$relation\E" does not match the manifest/);
damaged('a missing file', sub { unlink("$_[0]/$relation") }, 'J1811', qr/"\Q$relation\E" is missing in the backup/);
damaged('a strange file', sub { append_to_file("$_[0]/strange", 'x') }, 'J1018', qr/"strange" lies in the backup, but is not in its manifest/);
damaged('a changed label', sub { change_byte("$_[0]/backup_label", 30) }, 'J1018', qr/"backup_label" does not match/);
damaged('a damaged pg_control', sub { change_byte("$_[0]/global/pg_control", 100) }, 'J1018', qr/pg_control/);
damaged('a damaged manifest', sub { change_byte("$_[0]/backup_manifest", 400) }, 'J1018', qr/the backup manifest in ".*" is damaged/);
damaged('a missing manifest', sub { unlink("$_[0]/backup_manifest") }, 'J0615', qr/[Tt]here is no backup in/);
damaged('a missing log', sub { unlink("$_[0]/pg_wal/$segments[-2]") }, 'J0528', qr/WAL segment \Q$segments[-2]\E is missing/);
damaged('the first log missing', sub { unlink("$_[0]/pg_wal/$segments[0]") }, 'J0528', qr/WAL segment \Q$segments[0]\E is missing/);
damaged('no log', sub { unlink("$_[0]/pg_wal/$_") for @segments }, 'J0553', qr/ends too early: it needs segment/);
damaged('a short log', sub { truncate("$_[0]/pg_wal/$segments[1]", 1000) }, 'J0541', qr/wrong size/);
damaged('a log under another name', sub { copy("$_[0]/pg_wal/$segments[1]", "$_[0]/pg_wal/$segments[2]") }, 'J0501', qr/\Q$segments[2]\E is damaged/);
damaged('a log of another cluster', sub { change_byte("$_[0]/pg_wal/$segments[1]", 24) }, 'J0555', qr/another cluster/);
damaged('an incomplete one', sub { append_to_file("$_[0]/ese_backup_incomplete", 'x') }, 'J0615', qr/is not complete/);
damaged('an archive with another byte', sub { change_byte("$_[0]/data.1.tar.zst", -s "$_[0]/data.1.tar.zst" >> 1) }, 'J1018', qr/archive ".*" of the backup is damaged|does not match/, from => "$work/tar_zstd1");
damaged('an archive that is cut', sub { truncate("$_[0]/data.2.tar.lz4", 200_000) }, 'J1018', qr/archive ".*" of the backup is damaged|does not match/, from => "$work/tar_lz4");
damaged('a missing archive', sub { unlink("$_[0]/data.1.tar") }, 'J1811', qr/is missing in the backup/, from => "$work/tar_none");
damaged('no archive of logs', sub { unlink(glob("$_[0]/logs*")) }, 'J0615', qr/[Tt]here is no backup/, from => "$work/tar_none");
# any byte: also one that lies before the first record that is replayed
damaged('a log with another byte', sub { change_byte("$_[0]/pg_wal/$segments[0]", 8192 * 3 + 500) }, 'J0501', qr/pg_wal\/$segments[0]" does not match the manifest/);
refuses('J0615', $work, 'a directory without a backup', qr/[Tt]here is no backup in/);
refuses('J1023', "$work/nowhere", 'an absent directory', qr/No such file/);
refuses('J1023', 'relative', 'a relative path', qr/not an absolute path/);
fails_with($dbh, 'J0504', "SELECT ese_restore_instance($id, '$work/full', '$work/state1')", 'a destination that is not empty');
fails_with($dbh, 'J1023', "SELECT ese_restore_instance($id, '$work/full', '$work/full/x')", 'a destination in the backup');
fails_with($dbh, 'J1023', "SELECT ese_restore_instance($id, '$work/full', '" . $node->data_dir . "/x')", 'a destination in the cluster');
ok(!-e "$work/full/x", 'is not made');

# ---- it is the instance's one job, is seen, stopped, waited for, and cancelled
my $target = "$work/stopped";
set_test_points($node, 'restore.recovery=wait');
my $offset = -s $node->logfile;
is(error_of($dbh, "SELECT ese_restore_instance($id, '$work/full', '$target', wait => false)"), '00000', 'not waited for');
$node->wait_for_log(qr/waiting at test point "restore.recovery"/, $offset);
is($node->safe_psql('postgres', 'SELECT kind, phase, label, files_done > 100, bytes_done = bytes_total, files_done = files_total FROM ese_backup_progress'), "restore|databases|$work/full|t|t|t", 'progress');
ok(-e "$target/ese_backup_incomplete", 'a marker says that it is not complete');
set_test_points($node, 'restore.shutdown=wait');
$node->wait_for_log(qr/waiting at test point "restore.shutdown"/, $offset);
is($node->safe_psql('postgres', 'SELECT phase FROM ese_backup_progress'), 'logs', 'recovery is the logs phase');
my $stopper = fork() // die;
if ($stopper == 0)
{
	my $other = EseClient::connect_to(dsn($node));
	EseClient::value($other, "SELECT ese_stop_backup_instance($id)");
	POSIX::_exit(0);
}
wait_for($node, 'SELECT stop_requested FROM ese_backup_progress');
set_test_points($node, '');
waitpid($stopper, 0);
fails_with($dbh, 'J0801', "CALL ese_wait_backup($id)", 'stopped while it is recovered');
is(last_row($node, 'kind, status, stop_cause, error_number'), 'restore|aborted by server|user|-801', 'the history says so');
is(join(' ', glob("$target* $homes")), '', 'nothing is left');
is(scalar(grep { (readlink($_) // '') =~ /^\Q$target\E/ } glob('/proc/[0-9]*/cwd')), 0, 'no process either');

my $left = 0;
my %status;
for my $round (1 .. 25)
{
	my $source = $round % 2 ? "$work/full" : "$work/tar_zstd1";
	my $sql = $round % 5 == 0 ? "SELECT ese_verify_backup($id, '$source', 'restore')" : "SELECT ese_restore_instance($id, '$source', '$target')";
	my $child = fork() // die;
	if ($child == 0)
	{
		my $other = EseClient::connect_to(dsn($node));
		eval { $other->do($sql) };
		POSIX::_exit(0);
	}
	usleep(rand(1_200_000));
	EseClient::value($dbh, "SELECT ese_stop_backup_instance($id)");
	waitpid($child, 0);
	my ($status) = split(/\|/, last_row($node, 'status'));
	$status{$status}++;
	if (-e "$target/PG_VERSION" && $status eq 'completed')
	{
		system('rm', '-rf', glob("$target*"));
	}
	$left++ for glob("$target* $work/*.ese_verify* $homes");
}
is($left, 0, '25 stops at random moments leave nothing: ' . join(', ', map { "$_ $status{$_}" } sort keys %status));
nothing_held($node, 'stops');

# a user who cancels stops it; errors on the way clean up
my $session = EseClient::connect_to(dsn($node));
set_test_points($node, 'restore.sync=wait', $session);
$offset = -s $node->logfile;
my $pid = EseClient::value($session, 'SELECT pg_backend_pid()');
my $canceller = fork() // die;
if ($canceller == 0)
{
	$session->{InactiveDestroy} = 1;
	$node->wait_for_log(qr/waiting at test point "restore.sync"/, $offset);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	$node->safe_psql('postgres', "ALTER SYSTEM SET ese.test_points = ''");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	POSIX::_exit(0);
}
fails_with($session, '57014', "SELECT ese_restore_instance($id, '$work/full', '$target')", 'a cancelled wait');
waitpid($canceller, 0);
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is(last_row($node, 'status, stop_cause'), 'aborted by server|user', 'stops the restore');
set_test_points($node, '');
is(join(' ', glob("$target*")), '', 'and nothing is left');
for my $point (qw(restore.files restore.sync restore.recovery restore.shutdown))
{
	set_test_points($node, "$point=error");
	isnt(error_of($dbh, "SELECT ese_restore_instance($id, '$work/full', '$target')"), '00000', "$point: an error");
	set_test_points($node, '');
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	is(join(' ', glob("$target* $homes")), '', "$point: nothing is left");
}
nothing_held($node, 'errors');

# ---- rights
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; GRANT EXECUTE ON FUNCTION ese_restore_instance, ese_verify_backup TO nobody');
my $nobody = EseClient::connect_to(dsn($node), user => 'nobody');
fails_with($nobody, '42501', "SELECT ese_restore_instance($id, '$work/full', '$target')", 'restoring needs rights');
fails_with($nobody, '42501', "SELECT ese_verify_backup($id, '$work/full')", 'so does verifying');

# ---- the backup is as it was: nothing has written there
is(error_of($dbh, "SELECT ese_verify_backup($id, '$work/full')"), '00000', 'the backup is still good');
backup("$work/tar_zstd1", 1);
is(last_row($node, 'kind, status'), 'incremental|completed', 'and incrementals can follow');
is(scalar(() = slurp_file($node->logfile) =~ /was terminated by signal|all server processes terminated/g), 0, 'the server has never crashed');

done_testing();
